"""Processes that start before their database does."""

import os
import tempfile
import time
from pathlib import Path

import pytest
from django.db import connection

from lockngen.exit_codes import DATABASE
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.dev import OPENER
from lockngen.tests.support.processes import WEB, WORKER, Process, free_port

NO_DATABASE = {
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    "DB_STARTUP_TIMEOUT": "0.1",
    "DB_POOL_TIMEOUT": "0.2",
}


@pytest.fixture
def late_database(transactional_db):
    """The URL of the tests' database in a folder without a socket, and a function that puts the socket there."""
    settings = connection.settings_dict
    host = settings["OPTIONS"].get("host") or settings["HOST"]
    if not host.startswith("/"):
        pytest.skip("the tests' server has no socket")
    real = database_url().partition("?")[0]
    socket = Path(host, f".s.PGSQL.{settings['PORT'] or 5432}")
    with tempfile.TemporaryDirectory(prefix="late-", dir="/tmp") as here:
        yield f"{real}?host={here.replace('/', '%2F')}", lambda: Path(here, socket.name).symlink_to(socket)


@pytest.fixture
def launch(tmp_path):
    """Start the web or a worker."""
    started: list[Process] = []

    def launch(command: list[str], **variables: str) -> Process:
        environment = {**os.environ, "DEBUG": "on", "AUTO_MIGRATE": "off", **variables}
        started.append(Process(command, tmp_path / f"{len(started)}.log", environment))
        return started[-1]

    yield launch
    for process in started:
        process.kill()


def status(port: int, path: str) -> int | None:
    try:
        with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status
    except OSError as error:  # the listening socket accepts connections before the process serves
        return getattr(error, "code", None)


def test_web_and_worker__wait_for_a_database_that_starts_late(late_database, launch):
    url, make_available = late_database
    port = free_port()
    web = launch(WEB, DATABASE_URL=url, PORT=str(port), WEB_WORKERS="1")
    worker = launch(WORKER, DATABASE_URL=url)
    for process in (web, worker):
        process.wait_until(lambda process=process: "Waiting up to 30 s for the database" in process.output())

    time.sleep(0.3)
    make_available()

    web.wait_until(lambda: status(port, "/ht/") == 200)
    worker.wait_until(lambda: "Starting worker" in worker.output())
    for process in (web, worker):
        assert process.output().count("Waiting up to") == 1
    assert [process.stop(seconds=10) for process in (web, worker)] == [0, 0]


def test_web__starts_without_a_database(launch):
    port = free_port()
    web = launch(WEB, **NO_DATABASE, PORT=str(port), WEB_WORKERS="1")

    web.wait_until(lambda: status(port, "/ht/live") == 200)

    assert status(port, "/ht/") == 500
    assert web.stop(seconds=10) == 0


def test_worker__that_finds_no_database_ends_with_one_line(launch):
    worker = launch(WORKER, **NO_DATABASE)

    assert worker.wait() == DATABASE
    assert worker.output().splitlines()[-1] == "CommandError: The database accepted no connection within 0.1 seconds."
    assert "Traceback" not in worker.output()


def test_worker__that_finds_no_tables_states_so_and_ends(launch, empty_database):
    worker = launch(WORKER, DATABASE_URL=empty_database)

    assert worker.wait() == 1
    assert "does not exist" in worker.output()
    assert "Traceback" not in worker.output()
