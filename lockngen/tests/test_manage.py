"""How a command of manage.py ends, as a shell sees it."""

import os
import subprocess
import sys

import pytest

from lockngen.environment import BASE_DIR
from lockngen.tests.test_start import NO_DATABASE


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **variables}, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    ["apikey list", *(pytest.param(command, marks=pytest.mark.faults) for command in ("waitdb", "dbinfo"))],
)
def test_database_away__is_one_exit_code_and_one_line(arguments):
    done = manage(*arguments.split(), **NO_DATABASE, DB_RETRY_TIMEOUT="0", RETENTION_DELETED="1")

    assert (done.returncode, done.stdout) == (3, "")
    assert len([line for line in done.stderr.splitlines() if " WARNING " not in line]) == 1, done.stderr


def test_database_without_tables__is_one_line_with_the_remedy(empty_database):
    done = manage("apikey", "list", DATABASE_URL=empty_database)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "The database lacks tables or columns of this release: run manage.py migrate.\n"


def test_reader_that_goes_away__is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"], cwd=BASE_DIR, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")
