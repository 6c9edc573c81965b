"""Helpers for tests of the embedded PostgreSQL: its servers and processes."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from lockngen.database.embedded import Server, files, programs, running
from lockngen.environment import BASE_DIR
from lockngen.tests.support.waiting import wait_until

PROGRAMS = programs.wheel_programs()
# Under a closed folder such as /root only root can run the wheel's programs, and PostgreSQL refuses to run as root.
needs_open_checkout = pytest.mark.skipif(
    os.geteuid() == 0 and not programs.succeeds(pwd.getpwnam("nobody"), [PROGRAMS / "initdb", "--version"]),
    reason="the checkout is in a folder that other users can't traverse",
)
FORK = multiprocessing.get_context("fork")


def parent_of_folders() -> Path:
    """In memory, where fsync takes no time, if there is space for clusters and programs can run there."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30:
        return Path("/tmp") if os.statvfs(memory).f_flag & os.ST_NOEXEC else memory
    return Path("/tmp")


@contextmanager
def open_folder():
    """A folder that every user can traverse, unlike tmp_path. Servers that still run in it are stopped."""
    path = Path(tempfile.mkdtemp(prefix="embedded-test-", dir=parent_of_folders()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        for lock in path.rglob("postgres/server.lock"):
            if not is_stopped(Server(lock.parents[1])):
                end(all_processes(lock.parent / "cluster"))
            if lock.with_name("socket").exists():
                shutil.rmtree(lock.with_name("socket").read_text(), ignore_errors=True)
        shutil.rmtree(path)


def copy_migrated(data: Path) -> None:
    """Make a data folder with a migrated database. The first call of a test run creates what the others copy."""
    shared = Path(os.environ["TESTS_FOLDER"])
    with files.locked(shared / "lock"):
        if not (template := shared / "template").exists():
            variables = {"DEBUG": "on", "DATABASE_URL": "", "LOCKNGEN_DATA": str(shared / "new")}
            command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
            subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **variables}, check=True)
            (shared / "new").rename(template)
    subprocess.run(["cp", "-a", template, data], check=True)


def query(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def is_stopped(server):
    lock = files.try_lock(server.home / "server.lock")
    files.drop_lock(lock)
    return lock is not None


def postmaster(cluster):
    return psutil.Process(int((cluster / "postmaster.pid").read_text().split()[0]))


def all_processes(cluster):
    server = postmaster(cluster)
    return [server, *server.children(recursive=True)]


def end(processes):
    """Kill the processes and wait until they have ended. A zombie counts as ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(is_alive(process) for process in processes))


def is_alive(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def in_child(function, *arguments, user=None):
    """Run the function in a forked process, which sends its result or its exception through the pipe."""
    receiver, sender = FORK.Pipe(duplex=False)

    def body():
        if user is not None:
            os.setgroups([])
            os.setgid(pwd.getpwnam(user).pw_gid)
            os.setuid(pwd.getpwnam(user).pw_uid)
        try:
            sender.send(function(*arguments))
        except Exception as error:
            sender.send(error)

    process = FORK.Process(target=body)
    process.start()
    sender.close()
    return process, receiver


def result_of(child):
    process, receiver = child
    result = receiver.recv()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result


def count_visit(data):
    """Record a visit in the folder's database; return the number of visits."""
    with running(data) as url:
        query(url, "CREATE TABLE IF NOT EXISTS visit (at timestamptz DEFAULT now())")
        query(url, "INSERT INTO visit DEFAULT VALUES")
        return query(url, "SELECT count(*) FROM visit")
