"""The threads that run Django and use the database. The event loop itself never blocks.

Each kind of work has its own threads: slow admin pages don't delay the API, and health probes are answered while all
other threads wait for a database that is unavailable.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from django.conf import settings
from django.db import connection

from lockngen.database.breaker import breaker

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 0.2  # seconds for which the start of a process waits for its connections
KEPT_IDLE = 0.01  # seconds for which an idle thread keeps its connection, for which others may wait


class Busy(Exception):
    """Every thread was busy for the whole time in which the call had to begin."""


class DatabaseThreads:
    """Threads that keep their database connection while there is work, and return it to the pool when there is none.

    A checkout for each call costs about 75 us. A thread also returns its connection if others wait for the pool.
    """

    def __init__(self, name: str, count: int, max_wait: float = 5.0):
        self._name, self._count = name, count
        self.max_wait = max_wait  # seconds in which a call must begin
        self._calls: deque[_Call] = deque()  # waiting for a thread
        self._tokens: SimpleQueue[None] = SimpleQueue()  # one for each waiting call
        self._lock = Lock()
        self._is_started = False

    def run(self, function: Callable, *arguments) -> asyncio.Future:
        """Call the function in one of the threads. A call that is cancelled before it begins is not made."""
        if not self._is_started:
            self._start()
        call = _Call(function, arguments, time.monotonic() + self.max_wait)
        self._calls.append(call)
        self._tokens.put(None)
        return call.future

    def refuse_late(self) -> bool:
        """Fail calls that should have begun by now with Busy; return whether there were any."""
        now = time.monotonic()
        late = [call for call in list(self._calls) if call.begin_by < now and call.refuse()]
        return bool(late)

    def _start(self) -> None:
        with self._lock:  # at the first call, as threads don't survive a fork
            for number in range(0 if self._is_started else self._count):
                Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()
            self._is_started = True

    def _work(self) -> None:
        while True:
            try:
                self._tokens.get(timeout=KEPT_IDLE if connection.connection else None)
            except Empty:
                self._return_connection()
                continue
            self._calls.popleft().make()
            if connection.connection and connection.pool.get_stats()["requests_waiting"]:
                self._return_connection()

    def _return_connection(self) -> None:
        try:
            connection.close()
        except Exception:  # an error must not end the thread
            logger.exception("A connection was not returned to the pool.")


class _Call:
    """A call of a function, and the future of its result."""

    def __init__(self, function: Callable, arguments: tuple, begin_by: float):
        self.function, self.arguments, self.begin_by = function, arguments, begin_by
        self.future = asyncio.get_running_loop().create_future()
        self._claims = [None]

    def refuse(self) -> bool:
        """Fail the call with Busy, unless it has begun or was cancelled; return whether it was refused."""
        if self.future.cancelled() or not self._claim():
            return False
        self._resolve(None, Busy())
        return True

    def make(self) -> None:
        if self.future.cancelled() or not self._claim():
            return
        result = error = None
        try:
            if time.monotonic() > self.begin_by:
                raise Busy
            result = self.function(*self.arguments)
        except BaseException as caught:
            error = storable(caught)
        loop = self.future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._resolve, result, error)

    def _claim(self) -> bool:
        """Claim the call, to make it or to refuse it. Returns whether the caller is the first."""
        try:
            self._claims.pop()
        except IndexError:
            return False
        return True

    def _resolve(self, result: Any, error: Exception | None) -> None:
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def storable(error: BaseException) -> Exception:
    """The error, or one caused by it that a future can hold and that ends no event loop, as SystemExit would."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"The call raised {type(error).__name__}.")
    wrapped.__cause__ = error
    return wrapped


API = DatabaseThreads("api", settings.WEB_THREADS)  # calls on the fast path, which are short
DJANGO = DatabaseThreads("django", settings.WEB_THREADS)  # all other calls of the API
PAGES = DatabaseThreads("pages", 4)
PROBES = DatabaseThreads("probes", 4, max_wait=1.0)  # a check takes up to 5 s, and must respond within 6 s
REFUSALS = DatabaseThreads("refusals", 1, max_wait=1.0)  # requests that get 503 without a query
FILES = ThreadPoolExecutor(4, "files")


def of_path(path: str) -> DatabaseThreads:
    """The threads in which Django's handler serves this path."""
    if f"{path}/".startswith(settings.API_PATHS):
        return REFUSALS if breaker.is_open else DJANGO
    return PROBES if path.startswith("/ht/") else PAGES


async def open_connections() -> None:
    """Open the connections of the API's threads before the first request, if the database responds at once."""
    connect = lambda: connection.ensure_connection()  # noqa: E731  each thread has its own `connection`
    calls = [API.run(connect) for _ in range(settings.WEB_THREADS)]
    with suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.gather(*calls, return_exceptions=True)


def refuse_late() -> None:
    """Refuse requests that wait too long. If the API has any, the database is probed."""
    late = [pool.refuse_late() for pool in (API, DJANGO, PAGES, PROBES, REFUSALS)]
    if any(late[:2]):
        breaker.report()


async def read_file(function: Callable, *arguments) -> Any:
    return await asyncio.get_running_loop().run_in_executor(FILES, function, *arguments)
