"""Exit codes and error output of manage.py."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from lockngen.environment import BASE_DIR
from lockngen.exit_codes import INTERRUPTED
from lockngen.tests.support.processes import Process
from lockngen.tests.test_start import NO_DATABASE


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **variables}, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    ["apikey list", *(pytest.param(command, marks=pytest.mark.faults) for command in ("waitdb", "dbinfo"))],
)
def test_unavailable_database__is_one_exit_code_and_one_line(arguments):
    done = manage(*arguments.split(), **NO_DATABASE, DB_RETRY_TIMEOUT="0", RETENTION_DELETED="1")

    assert (done.returncode, done.stdout) == (3, "")
    assert len([line for line in done.stderr.splitlines() if " WARNING " not in line]) == 1, done.stderr


def test_database_without_tables__is_one_line_with_the_remedy(empty_database):
    done = manage("apikey", "list", DATABASE_URL=empty_database)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "The database lacks tables or columns of this release: run manage.py migrate.\n"


def test_ctrl_c__before_a_command_has_begun_is_no_traceback(tmp_path):
    environment = {**os.environ, **NO_DATABASE, "DB_STARTUP_TIMEOUT": "60"}
    use_default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for background jobs
    command = [sys.executable, "manage.py", "waitdb"]
    waiting = Process(command, tmp_path / "waitdb.log", environment, preexec_fn=use_default)
    waiting.wait_until(lambda: "Waiting up to 60 s" in waiting.output())

    assert waiting.stop(signal.SIGINT) == INTERRUPTED

    assert "Traceback" not in waiting.output()


def test_closed_pipe__prints_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"], cwd=BASE_DIR, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")
