"""Fixtures of tests that look at a whole running LockN Gen from outside."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
from django.conf import settings

from lockngen.database import embedded
from lockngen.environment import BASE_DIR
from lockngen.tests.support.embedded_servers import open_folder

URL = "/api/v1/generations"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Dev:
    """One run of `manage.py dev`."""

    def __init__(self, data: Path, **variables: str):
        self.data, self.variables, self.port = data, variables, free_port()
        self.start()

    def start(self) -> None:
        printed = self.data.parent / "dev.out"
        with open(printed, "w") as out, open(self.data.parent / "dev.log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "dev"], cwd=BASE_DIR, env=self.environment(), stdout=out, stderr=log
            )
        while self.process.poll() is None and printed.read_text().count("\n") < 3:
            time.sleep(0.05)
        self.greeting = printed.read_text().splitlines()
        assert self.greeting[:1] == [f"Ready: http://127.0.0.1:{self.port}"], self.log()
        self.token = self.greeting[1].split()[-1]

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run another of manage.py's commands beside it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env={**self.environment(), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def environment(self) -> dict[str, str]:
        own = {"DEBUG": "on", "DATABASE_URL": "", "LOCKNGEN_DATA": str(self.data), "PORT": str(self.port)}
        own |= {"WEB_WORKERS": "1"}  # a second one would only take time to start
        # A proxy that isn't there: nobody may ask it for this machine's own addresses.
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        return {**os.environ, **own, **proxy, **self.variables}

    def log(self) -> str:
        return (self.data.parent / "dev.log").read_text()

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
        """The status that the API answers a token with."""
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/key", headers=headers)
        try:
            with OPENER.open(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def create(self, **asked) -> dict:
        return json.loads(self.ask(URL, {"prompt": "a lighthouse at dusk", **asked}))

    def wait_for(self, id: str, *statuses: str, seconds: float = 20) -> dict:
        deadline = time.monotonic() + seconds
        while True:
            generation = json.loads(self.ask(f"{URL}/{id}"))
            if generation["status"] in statuses:
                return generation
            assert time.monotonic() < deadline, f"{generation}\n{self.log()}"
            time.sleep(0.02)

    def newest(self) -> list[dict]:
        return json.loads(self.ask(f"{URL}?limit=100"))["items"]

    def count(self, what: str) -> int:
        with embedded.running(self.data) as address, psycopg.connect(address) as connection:
            return connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def processes(self) -> list[psutil.Process]:
        """This run's processes and those of its database."""
        postmaster = int((self.data / "postgres/cluster/postmaster.pid").read_text().split()[0])
        parents = [psutil.Process(self.process.pid), psutil.Process(postmaster)]
        return parents + [child for parent in parents for child in parent.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def dev_folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def make_dev(dev_folder):
    runs = []

    def make(**variables: str) -> Dev:
        folder = dev_folder / str(len(runs))
        folder.mkdir()
        runs.append(Dev(folder / "data", **variables))
        return runs[-1]

    yield make
    running = [run for run in runs if run.process.poll() is None]
    for run in running:
        run.process.terminate()
    for run in running:
        run.process.wait(30)


@pytest.fixture(scope="module")
def dev(make_dev) -> Dev:
    """One run for all tests that leave it as it is."""
    return make_dev()


def address(name: str) -> str:
    """The URL of a database on the tests' server."""
    server = settings.DATABASES["default"]
    host = server["OPTIONS"].get("host") or server["HOST"]
    return (
        f"postgres://{server['USER']}:{quote(server['PASSWORD'])}@:{server['PORT'] or 5432}/{name}"
        f"?host={quote(host, safe='')}"
    )


@pytest.fixture
def empty_database():
    name = f"test_migrate_{secrets.token_hex(4)}"
    with psycopg.connect(address("postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield address(name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def web(django_db_setup, django_db_blocker, tmp_path_factory):
    """A real web of one process on the tests' database, for the tests of one module."""
    from lockngen.tests.support.web import Web  # it imports this module

    with django_db_blocker.unblock():
        web = Web(free_port(), tmp_path_factory.mktemp("web") / "log", workers=1)
    try:
        web.wait()
        yield web
    finally:
        web.stop()
