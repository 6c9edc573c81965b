"""Batches the calls of many clients: calls that arrive during a batch form the next one."""

import asyncio
from collections.abc import Callable
from typing import Any

from lockngen.database import retry
from lockngen.web import threads

MAX_SIZE = 500  # items of a batch


class Batches:
    """Calls a function in a thread with a list of items. Used in one event loop.

    The function returns a result for each item; a result that is an exception is raised for its item. A client that
    disconnects doesn't cancel its item.
    """

    def __init__(self, function: Callable[[list], list]):
        self._function = function
        self._waiting: list[tuple[Any, asyncio.Future]] = []
        self._task: asyncio.Task | None = None

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
            batch, self._waiting = self._waiting[:MAX_SIZE], self._waiting[MAX_SIZE:]
            try:
                results = await threads.API.run(self._function, [item for item, _ in batch])
                if len(results) != len(batch):
                    raise RuntimeError(f"A batch of {len(batch)} items has {len(results)} results.")
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                _resolve(future, result)


def _resolve(future: asyncio.Future, result: Any) -> None:
    if isinstance(result, BaseException):
        future.set_exception(threads.storable(result))
        future.exception()  # prevents asyncio's log line if the client has disconnected
    else:
        future.set_result(result)
