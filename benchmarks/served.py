"""Starts web servers as they run in production. This is the only place with LockN Gen's command."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener
from uuid import UUID

import psutil

from benchmarks.database import BASE, database, fill, make_keys

APPLICATION = "lockngen.asgi"
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py"]
PROCESSES, KEYS = 2, 50
# The system checks at startup require collected static files.
ENVIRONMENT = {"WEB_WORKERS": str(PROCESSES), "LOCKNGEN_PRESTART_DONE": "1"}


class Server:
    """A web server: its port and its processes."""

    def __init__(self, port: int, process: subprocess.Popen):
        self.port, self.main = port, psutil.Process(process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer requests: those that use memory for the application."""
        return self.main.children(recursive=True)

    def worker_seconds(self) -> dict[int, float]:
        """Processor seconds of each worker by its process id."""
        return {process.pid: sum(process.cpu_times()[:2]) for process in self.workers()}

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.main)

    def memory(self) -> float:
        """Resident memory of the largest worker, in MiB."""
        return max(process.memory_info().rss for process in self.workers()) / 2**20


@contextmanager
def lockngen(application: str = APPLICATION, **environment: str) -> Iterator[Server]:
    """LockN Gen in two processes."""
    with _started([*COMMAND, application], environment) as server:
        yield server


@contextmanager
def filled(url: str, rows: int, image: bytes = b"", **environment: str) -> Iterator[tuple[Server, dict[UUID, str]]]:
    """LockN Gen on a new database with KEYS keys and finished generations; yields the tokens by the keys' ids too.

    This process may then open as many connections as the system allows.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder, database(Path(folder), url):
        keys = make_keys(KEYS)
        fill(list(keys), rows, image)
        with lockngen(**environment) as server:
            yield server, keys


@contextmanager
def peer(name: str) -> Iterator[Server]:
    """A module of `benchmarks.peers` in two processes."""
    with _started([sys.executable, "-m", "benchmarks.peers", name], {}) as server:
        yield server


@contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    variables = {**os.environ, **ENVIRONMENT, **environment, "PORT": str(port)}
    process = subprocess.Popen(command, cwd=BASE, env=variables)
    try:
        _wait_for(port)
        yield Server(port, process)
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int) -> None:
    opener, deadline = build_opener(ProxyHandler({})), time.monotonic() + 30
    while True:
        try:
            with suppress(HTTPError):
                opener.open(f"http://127.0.0.1:{port}/ht/live", timeout=5).close()
            return time.sleep(1)  # for the second process as well
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def cpu_seconds(main: psutil.Process | None) -> float:
    """Processor seconds of a process and all below it, those that have ended included."""
    if main is None:
        return 0.0
    total = 0.0
    for process in [main, *main.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # the third and fourth are those of children that ended
    return total
