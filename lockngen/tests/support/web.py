"""Web processes on the tests' own database, and clients that call them from many threads at once."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Barrier
from urllib.parse import urlsplit

from django.db import connection

from lockngen.environment import BASE_DIR

GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.wsgi"]


class Web:
    """One gunicorn. It starts in the background: `wait` until it answers."""

    def __init__(self, port: int, log: Path, *arguments: str, workers: int = 2, threads: int = 4, **variables: str):
        self.port, self.log, self.workers = port, log, workers
        name = connection.settings_dict["NAME"]
        environment = {
            **os.environ,
            "DEBUG": "on",
            "AUTO_MIGRATE": "off",
            "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl(),
            "PORT": str(port),
            "WEB_WORKERS": str(workers),
            "WEB_THREADS": str(threads),
            "DB_POOL_MAX_SIZE": str(threads),
            **variables,
        }
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*GUNICORN, *arguments], cwd=BASE_DIR, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while self.log.read_text().count("Booting worker") < self.workers or not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        with suppress(OSError), Caller(self.port) as caller:
            return caller.ask("/ht/live").status == 200
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(40)


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
    """What became of `times` calls by each of the callers, who begin together."""
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
