"""Processes that start before their database does."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError

import pytest

from lockngen.environment import BASE_DIR
from lockngen.exit_codes import DATABASE
from lockngen.tests.conftest import OPENER, free_port
from lockngen.tests.test_migrate import start, wait_until

COMMANDS = {
    "web": [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.wsgi"],
    "worker": [sys.executable, "manage.py", "procrastinate", "worker"],
}
NO_DATABASE = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing", "DB_STARTUP_TIMEOUT": "0.1"}


@pytest.fixture
def late_database(empty_database):
    """A migrated database that is there once the function beside its URL is called."""
    migrator = start(DATABASE_URL=empty_database)
    _, said = migrator.communicate(timeout=60)
    assert migrator.returncode == 0, said
    real, _, folder = empty_database.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="late-", dir="/tmp") as here:
        socket = Path(folder.replace("%2F", "/"), ".s.PGSQL.5432")
        yield f"{real}?host={here.replace('/', '%2F')}", lambda: Path(here, socket.name).symlink_to(socket)


@pytest.fixture
def launch(tmp_path):
    """Start the web or a worker; its log comes with it."""
    started = []

    def launch(name: str, **variables: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"{name}.log"
        with log.open("w") as output:
            variables = {**os.environ, "DEBUG": "on", "AUTO_MIGRATE": "off", **variables}
            started.append(subprocess.Popen(COMMANDS[name], cwd=BASE_DIR, env=variables, stderr=output))
        return started[-1], log

    yield launch
    for process in started:
        process.terminate()
    for process in started:
        process.wait(40)


def status(port: int, path: str) -> int | None:
    try:
        with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status
    except URLError as error:
        return getattr(error, "code", None)


def test_web_and_worker__wait_for_a_database_that_comes_late(late_database, launch):
    url, come = late_database
    port = free_port()
    _, web_log = launch("web", DATABASE_URL=url, PORT=str(port))
    _, worker_log = launch("worker", DATABASE_URL=url)
    for log in (web_log, worker_log):
        wait_until(lambda log=log: "Waiting up to 30 s for the database" in log.read_text())

    time.sleep(1)
    come()

    wait_until(lambda: status(port, "/ht/") == 200)
    wait_until(lambda: "Starting worker" in worker_log.read_text())
    for log in (web_log, worker_log):
        assert log.read_text().count("Waiting up to") == 1


def test_web__goes_on_without_a_database_that_does_not_come(launch):
    port = free_port()
    launch("web", **NO_DATABASE, DB_POOL_TIMEOUT="0.5", PORT=str(port))

    wait_until(lambda: status(port, "/ht/live") == 200)

    assert status(port, "/ht/") == 500


def test_worker__that_finds_no_database_ends_with_one_line(launch):
    worker, log = launch("worker", **NO_DATABASE)

    assert worker.wait(30) == DATABASE
    assert log.read_text().splitlines()[-1] == "CommandError: The database took no connection in 0.1 seconds."
    assert "Traceback" not in log.read_text()


def test_worker__that_finds_no_tables_states_so_and_ends(launch, empty_database):
    worker, log = launch("worker", DATABASE_URL=empty_database)

    assert worker.wait(30) == 1
    assert "does not exist" in log.read_text()
    assert "Traceback" not in log.read_text()
