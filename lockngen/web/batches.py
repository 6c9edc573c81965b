"""Batches the calls of many clients: calls that arrive during a batch form the next one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lockngen.database import retry
from lockngen.web import threads

MAX_SIZE = 500  # items of a batch
MAX_DELAY = 0.005  # seconds for which a batch waits for items that are being prepared


class Batches:
    """Calls a function in a thread with a list of items. Used in one event loop.

    The function returns a result for each item; a result that is an exception is raised for its item. A client that
    disconnects doesn't cancel its item.
    """

    def __init__(self, function: Callable[[list], list]):
        self._function = function
        self._waiting: list[tuple[Any, asyncio.Future]] = []
        self._task: asyncio.Task | None = None
        self._expected = 0
        self._all_arrived = asyncio.Event()

    @contextmanager
    def expect(self) -> Iterator[None]:
        """An item is being prepared, for which the next batch waits a moment: larger batches cost less an item."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            if not self._expected:
                self._all_arrived.set()

    async def add(self, item: Any) -> Any:
        """The item's result."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def add_or(self, item: Any, previous: Any) -> Any:
        """The item's result, or the previous one while the database is unavailable."""
        try:
            return await self.add(item)
        except threads.Busy:
            return previous
        except retry.ERRORS as error:
            if retry.outage(error) is None:
                raise
            return previous

    async def _run(self) -> None:
        while self._waiting:
            await self._wait_for_expected()
            batch, self._waiting = self._waiting[:MAX_SIZE], self._waiting[MAX_SIZE:]
            try:
                results = await threads.API.run(self._function, [item for item, _ in batch])
                if len(results) != len(batch):
                    raise RuntimeError(f"A batch of {len(batch)} items has {len(results)} results.")
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                _resolve(future, result)

    async def _wait_for_expected(self) -> None:
        if not self._expected:
            return
        self._all_arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DELAY):
                await self._all_arrived.wait()


def _resolve(future: asyncio.Future, result: Any) -> None:
    if isinstance(result, BaseException):
        future.set_exception(threads.storable(result))
        future.exception()  # prevents asyncio's log line if the client has disconnected
    else:
        future.set_result(result)
