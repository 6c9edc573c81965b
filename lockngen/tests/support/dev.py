"""A whole LockN Gen, run by `manage.py dev` and used from outside."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import psutil
import psycopg

from lockngen.database import embedded
from lockngen.environment import BASE_DIR
from lockngen.tests.support.embedded_servers import copy_migrated
from lockngen.tests.support.processes import Process, free_port
from lockngen.tests.support.waiting import wait_until

URL = "/api/v1/generations"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Api:
    """Calls of the API at this port, by default with this token."""

    port: int
    token: str

    def ask(self, path: str, body: dict | None = None) -> bytes:
        with self.open(path, body) as answer:
            return answer.read()

    def open(self, path: str, body: dict | None = None) -> HTTPResponse:
        request = urllib.request.Request(
            path if path.startswith("http") else f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode() if body else None,
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        return OPENER.open(request, timeout=30)

    def answers_to(self, token: str) -> int:
        """The status of an API call with this token."""
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/key", headers=headers)
        try:
            with OPENER.open(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def create(self, **fields) -> dict:
        return json.loads(self.ask(URL, {"prompt": "a lighthouse at dusk", **fields}))

    def wait_for(self, id: str, *statuses: str, seconds: float = 20) -> dict:
        """The generation, once it has one of the statuses."""

        def read() -> dict | None:
            generation = json.loads(self.ask(f"{URL}/{id}"))
            return generation if generation["status"] in statuses else None

        return wait_until(read, seconds, self.output, pause=0.05)

    def newest(self) -> list[dict]:
        return json.loads(self.ask(f"{URL}?limit=100"))["items"]


class Dev(Process, Api):
    """One run of `manage.py dev`."""

    def __init__(self, data: Path, **variables: str):
        self.data, self.port = data, free_port()
        own = {"DEBUG": "on", "DATABASE_URL": "", "LOCKNGEN_DATA": str(data), "PORT": str(self.port)}
        own |= {"WEB_WORKERS": "1"}  # a second one would only take time to start
        # A proxy that doesn't exist: requests to this machine's own addresses must not use it.
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        environment = {**os.environ, **own, **proxy, **variables}
        super().__init__([sys.executable, "manage.py", "dev"], data.parent / "dev.log", environment)

    def start(self) -> None:
        greeting = self.data.parent / "dev.out"
        with greeting.open("w") as self.options["stdout"], self.log.open("a") as self.options["stderr"]:
            super().start()
        self.wait_until(lambda: greeting.read_text().count("\n") >= 3, seconds=90)
        self.greeting = greeting.read_text().splitlines()
        assert self.greeting[0] == f"Ready: http://127.0.0.1:{self.port}", self.output()
        self.token = self.greeting[1].split()[-1]

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run another of manage.py's commands beside it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def count(self, what: str) -> int:
        with embedded.running(self.data) as address, psycopg.connect(address) as connection:
            return connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def execute(self, statement: str, **parameters) -> None:
        with embedded.running(self.data) as address, psycopg.connect(address) as connection:
            connection.execute(statement, parameters)

    @contextmanager
    def paused_worker(self) -> Iterator[None]:
        """What is submitted in this block waits until its end."""
        (worker,) = (each for each in psutil.Process(self.process.pid).children() if "procrastinate" in each.cmdline())
        worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    def restart_web(self) -> None:
        """Replace the processes of the web: gunicorn begins new ones and ends the old ones gracefully."""
        (web,) = (each for each in psutil.Process(self.process.pid).children() if "gunicorn" in each.cmdline())
        old = web.children()
        web.send_signal(signal.SIGHUP)
        self.wait_until(lambda: not any(each.is_running() for each in old))

    def processes(self) -> list[psutil.Process]:
        """The processes of this run and of its database."""
        postmaster = int((self.data / "postgres/cluster/postmaster.pid").read_text().split()[0])
        parents = [psutil.Process(self.process.pid), psutil.Process(postmaster)]
        return parents + [child for parent in parents for child in parent.children(recursive=True)]


@contextmanager
def running_devs(folder: Path) -> Iterator[Callable[..., Dev]]:
    """Make runs with a data folder of their own in this folder. They end with the block."""
    runs = []

    def make(*, is_first_start: bool = False, **variables: str) -> Dev:
        own = folder / str(len(runs))
        own.mkdir()
        if not is_first_start:
            copy_migrated(own / "data")
        runs.append(Dev(own / "data", **variables))
        return runs[-1]

    try:
        yield make
    finally:
        running = [run for run in runs if run.is_running()]
        for run in running:
            run.process.terminate()
        for run in running:
            run.wait()
