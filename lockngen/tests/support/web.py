"""Web processes on the tests' own database, and clients that call them from many threads at once."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Barrier

from lockngen.environment import PRESTART_DONE
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.processes import WEB, Process


class Web(Process):
    """One gunicorn. It starts in the background: `wait_until_ready` waits for its first response."""

    def __init__(
        self,
        port: int,
        log: Path,
        *arguments: str,
        application: str = "lockngen.asgi",
        workers: int = 2,
        threads: int = 4,
        **variables: str,
    ):
        self.port, self.workers = port, workers
        environment = {
            **os.environ,
            "DEBUG": "on",
            PRESTART_DONE: "1",  # the tests' database is migrated
            "DATABASE_URL": database_url(),
            "PORT": str(port),
            "WEB_WORKERS": str(workers),
            "WEB_THREADS": str(threads),
            "DB_POOL_MAX_SIZE": str(threads),
            **variables,
        }
        super().__init__([*WEB[:-1], application, *arguments], log, environment)

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: self.output().count("Booting worker") >= self.workers and self.answers())

    def answers(self) -> bool:
        with suppress(OSError), Caller(self.port) as caller:
            return caller.ask("/ht/live").status == 200
        return False


class Caller:
    """A client that keeps its connection."""

    def __init__(self, port: int, token: str = ""):
        self.connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, path: str, body: str | None = None) -> HTTPResponse:
        self.connection.request("POST" if body else "GET", path, body, self.headers)
        answer = self.connection.getresponse()
        answer.body = answer.read()
        return answer

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()


def call_at_once(callers: list[Caller], call: Callable[[Caller], object], times: int, pause: float = 0) -> list:
    """The results of `times` calls by each of the callers, which start together."""
    begin = Barrier(len(callers), timeout=30)

    def work(caller: Caller) -> list:
        results = []
        with caller:
            begin.wait()
            for _ in range(times):
                results.append(call(caller))
                time.sleep(pause)
        return results

    with ThreadPoolExecutor(len(callers)) as pool:
        return [result for results in pool.map(work, callers) for result in results]
