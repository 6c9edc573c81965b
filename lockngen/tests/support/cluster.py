"""A PostgreSQL server of one stack, and the faults that tests inject into it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from lockngen.database.embedded import Server, files
from lockngen.database.embedded.server import SERVER_OPTIONS
from lockngen.tests.support.embedded_servers import copy_migrated, postmaster


class Cluster:
    def __init__(self, data: Path):
        copy_migrated(data)
        self.server = Server(data)
        self.url = self.server.acquire()

    def close(self) -> None:
        self.server.release()

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True, application_name="test", connect_timeout=10)

    def rows(self, statement: str, *parameters) -> list[tuple]:
        with self.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters):
        return self.rows(statement, *parameters)[0][0]

    def stop(self, mode: str) -> None:
        self._pg_ctl("stop", "-m", mode)

    def start(self) -> float:
        """Start it with the same socket; return the time at which it accepted connections."""
        socket = (self.server.home / "socket").read_text()
        # The lock of the new server, by which the embedded server detects that it is running.
        lock = files.take_lock(self.server.home / "server.lock", files.fcntl.LOCK_EX)
        try:
            options = f"{SERVER_OPTIONS} -c unix_socket_directories={socket}"
            self._pg_ctl("start", "-l", "server.log", "-o", options, pass_fds=[lock])
        finally:
            os.close(lock)
        return time.monotonic()

    def restart(self, mode: str, *, seconds_down: float = 0) -> float:
        self.stop(mode)
        time.sleep(seconds_down)
        return self.start()

    def terminate_backends(self) -> int:
        """Terminate every client connection except this one."""
        server = postmaster(self.server.cluster)
        for child in server.children():
            with suppress(psutil.NoSuchProcess):
                # No view lists a connection before it is authenticated.
                if " ".join(child.cmdline()).rstrip().endswith((" authentication", " startup")):
                    child.terminate()
        return self.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend the postmaster and all processes that it started."""
        server = postmaster(self.server.cluster)
        server.suspend()  # first, so that it starts nothing more
        processes = [server, *server.children(recursive=True)]
        try:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextmanager
    def exhausted(self) -> Iterator[None]:
        """Open sessions until no connection is left."""
        taken: list[psycopg.Connection] = []
        refusals = 0
        try:
            while refusals < 3:  # a session that has ended frees its connection a moment later
                try:
                    taken.append(self.connect())
                    refusals = 0
                except psycopg.OperationalError:
                    refusals += 1
                    time.sleep(0.1)
            yield
        finally:
            for connection in taken:
                connection.close()

    def _pg_ctl(self, action: str, *arguments: str, **options) -> None:
        done = self.server._pg_ctl(action, *arguments, **options)
        assert done.returncode == 0, done.stderr
