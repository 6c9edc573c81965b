"""The threads that run Django and use the database. The event loop itself never blocks.

Work of one kind can't delay that of another: slow pages of the admin leave the API alone, and probes have threads of
their own, as all others may be waiting for a database that is unavailable.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from django.conf import settings
from django.db import connection


class DatabaseThreads:
    """Threads that keep their database connection while there is work, and return it to the pool when there is none.

    A checkout for each call costs about 75 us. A thread also returns its connection if others wait for one of the pool.
    """

    def __init__(self, name: str, count: int):
        self._name, self._count = name, count
        self._queue: SimpleQueue = SimpleQueue()
        self._lock = Lock()
        self._is_started = False

    def run(self, function: Callable, *arguments) -> asyncio.Future:
        """Call the function in one of the threads. A call that is cancelled before it begins is not made."""
        if not self._is_started:
            self._start()
        future = asyncio.get_running_loop().create_future()
        self._queue.put((future, function, arguments))
        return future

    def _start(self) -> None:
        with self._lock:  # here and not earlier: threads don't survive a fork
            for number in range(0 if self._is_started else self._count):
                Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()
            self._is_started = True

    def _work(self) -> None:
        while True:
            self._call(*self._queue.get())
            if self._queue.empty() or connection.pool.get_stats()["requests_waiting"]:
                connection.close()

    def _call(self, future: asyncio.Future, function: Callable, arguments: tuple) -> None:
        if future.cancelled():
            return
        result = error = None
        try:
            result = function(*arguments)
        except BaseException as caught:
            error = caught
        loop = future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, future, result, error)


def _resolve(future: asyncio.Future, result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


API = DatabaseThreads("api", settings.WEB_THREADS)
PAGES = DatabaseThreads("pages", 2)
PROBES = DatabaseThreads("probes", 4)
FILES = ThreadPoolExecutor(4, "files")


def of_path(path: str) -> DatabaseThreads:
    """The threads that serve this path."""
    if path.startswith("/api/"):
        return API
    return PROBES if path.startswith("/ht/") else PAGES


async def read_file(function: Callable, *arguments) -> Any:
    return await asyncio.get_running_loop().run_in_executor(FILES, function, *arguments)
