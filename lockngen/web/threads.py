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
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from django.conf import settings
from django.db import connection

from lockngen.database.breaker import breaker

logger = logging.getLogger(__name__)

KEPT_IDLE = 0.1  # seconds for which an idle thread keeps its connection
MAX_WAIT = 5.0  # seconds in which a call must begin


class Busy(Exception):
    """Every thread was busy for MAX_WAIT."""


class DatabaseThreads:
    """Threads that keep their database connection while there is work, and return it to the pool when there is none.

    A checkout for each call costs about 75 us. A thread also returns its connection if others wait for the pool.
    """

    def __init__(self, name: str, count: int):
        self._name, self._count = name, count
        self._calls: deque[_Call] = deque()  # waiting for a thread
        self._tokens: SimpleQueue[None] = SimpleQueue()  # one for each waiting call
        self._lock = Lock()
        self._is_started = False

    def run(self, function: Callable, *arguments) -> asyncio.Future:
        """Call the function in one of the threads. A call that is cancelled before it begins is not made."""
        if not self._is_started:
            self._start()
        call = _Call(function, arguments)
        self._calls.append(call)
        self._tokens.put(None)
        return call.future

    def refuse_late(self) -> bool:
        """Fail calls that have waited longer than MAX_WAIT with Busy; return whether there were any."""
        earliest = time.monotonic() - MAX_WAIT
        waiting = [call for call in list(self._calls) if not call.future.cancelled()]
        late = [call for call in waiting if call.enqueued_at < earliest and call.claim()]
        for call in late:
            call.resolve(None, Busy())
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
            if connection.pool.get_stats()["requests_waiting"]:
                self._return_connection()

    def _return_connection(self) -> None:
        try:
            connection.close()
        except Exception:  # an error must not end the thread
            logger.exception("A connection was not returned to the pool.")


class _Call:
    """A call of a function, and the future of its result."""

    def __init__(self, function: Callable, arguments: tuple):
        self.function, self.arguments = function, arguments
        self.future = asyncio.get_running_loop().create_future()
        self.enqueued_at = time.monotonic()
        self._claims = [None]

    def claim(self) -> bool:
        """Claim the call, to make it or to refuse it. Returns whether the caller is the first."""
        try:
            self._claims.pop()
        except IndexError:
            return False
        return True

    def make(self) -> None:
        if self.future.cancelled() or not self.claim():
            return
        result = error = None
        try:
            result = self.function(*self.arguments)
        except BaseException as caught:
            error = caught
        loop = self.future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self.resolve, result, error)

    def resolve(self, result: Any, error: BaseException | None) -> None:
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


API = DatabaseThreads("api", settings.WEB_THREADS)
PAGES = DatabaseThreads("pages", 4)
PROBES = DatabaseThreads("probes", 4)
REFUSALS = DatabaseThreads("refusals", 1)  # requests that get 503 without a query
FILES = ThreadPoolExecutor(4, "files")


def of_path(path: str) -> DatabaseThreads:
    """The threads that serve this path."""
    if f"{path}/".startswith(settings.API_PATHS):
        return REFUSALS if breaker.is_open else API
    return PROBES if path.startswith("/ht/") else PAGES


async def read_file(function: Callable, *arguments) -> Any:
    return await asyncio.get_running_loop().run_in_executor(FILES, function, *arguments)
