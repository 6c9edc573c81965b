"""The threads that run Django and use the database. The event loop itself never blocks.

Work of one kind can't delay that of another: slow pages of the admin leave the API alone, and probes have threads of
their own, as all others may be waiting for a database that is unavailable.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.db import connection

API = ThreadPoolExecutor(settings.WEB_THREADS, "api")
PAGES = ThreadPoolExecutor(2, "pages")
PROBES = ThreadPoolExecutor(4, "probes")
FILES = ThreadPoolExecutor(4, "files")


def of_path(path: str) -> ThreadPoolExecutor:
    """The threads that serve this path."""
    if path.startswith("/api/"):
        return API
    return PROBES if path.startswith("/ht/") else PAGES


async def run(executor: ThreadPoolExecutor, function: Callable, *arguments) -> Any:
    return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)


async def query(function: Callable, *arguments) -> Any:
    """Run a function that uses the database, and return its connection to the pool."""
    return await run(API, _with_connection, function, *arguments)


def _with_connection(function: Callable, *arguments) -> Any:
    try:
        return function(*arguments)
    finally:
        connection.close()
