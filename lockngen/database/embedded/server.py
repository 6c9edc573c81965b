"""An embedded cluster and the processes that share it."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import DuplicateDatabase, UniqueViolation
from psycopg.pq import PGconn, Ping
from tenacity import retry_if_exception_type

from lockngen import retry_policies
from lockngen.database.embedded.files import drop_lock, locked, open_private, replace, take_lock, try_lock
from lockngen.database.embedded.programs import (
    Account,
    EmbeddedError,
    account_name,
    make_elsewhere,
    make_folder_of,
    programs_for,
    remove_unfinished,
    run_as,
    succeeds,
)
from lockngen.plain import one_line

SERVER_ACCOUNTS = ("postgres", "daemon", "nobody")
SOCKETS = Path("/tmp")  # noqa: S108  a short path; the folders created there have random names and are private
INITDB_OPTIONS = ["-U", "lockn", "--pwprompt", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
SERVER_OPTIONS = "-c listen_addresses= -c unix_socket_permissions=0700 -c port=5432 -c max_connections=100"
REMEDY = "Set LOCKNGEN_DATA to another folder of your own, or DATABASE_URL to a server."


@contextmanager
def running(data: Path) -> Iterator[str]:
    """Run an embedded server on the folder `data` during the context; yields its DATABASE_URL."""
    server = Server(data)
    url = server.acquire()
    try:
        yield url
    finally:
        server.release()


class Server:
    def __init__(self, data: Path):
        self.home = Path(data).absolute() / "postgres"
        self.cluster = self.home / "cluster"
        self._users_lock: int | None = None
        self._owner_pid: int | None = None

    def acquire(self) -> str:
        """Use the running server or start one; return the URL of its database."""
        with explained(self.home):
            self._make_home()
            with locked(self.home / "start.lock"):
                users_lock = take_lock(self.home / "users.lock", fcntl.LOCK_SH)
                try:
                    self._bring_up()
                except BaseException:
                    drop_lock(users_lock)
                    raise
                self._drop_users_lock()
                self._users_lock, self._owner_pid = users_lock, os.getpid()
                return self._url("lockngen")

    def release(self) -> None:
        """Stop using the server; its last user stops it."""
        if self._owner_pid != os.getpid():
            return
        with explained(self.home), locked(self.home / "start.lock") as start_lock:
            self._drop_users_lock()
            last_lock = try_lock(self.home / "users.lock")
            try:
                if last_lock is not None:
                    self._stop(start_lock)
            finally:
                drop_lock(last_lock)

    def _drop_users_lock(self) -> None:
        # A forked child inherits its parent's lock and must not release it.
        if self._owner_pid == os.getpid():
            drop_lock(self._users_lock)
        self._users_lock = self._owner_pid = None

    def _make_home(self) -> None:
        data, user = self.home.parent, os.geteuid()
        data.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(mode=0o700, exist_ok=True)
        owner = self.home.stat().st_uid
        if user != 0 and owner != user:
            raise EmbeddedError(f"{self.home} belongs to {account_name(owner)}. {REMEDY}")
        if user == 0 and data.stat().st_uid == 0:
            self.home.chmod(0o711)
        elif user == 0 and not self.cluster.exists():
            # The owner of the data folder may have created a link here; root must not follow it.
            os.chown(self.home, data.stat().st_uid, data.stat().st_gid, follow_symlinks=False)

    def _account(self) -> Account:
        """The current user; for root, as which PostgreSQL refuses to run, the owner of the data."""
        if os.geteuid() != 0:
            return None
        for folder in (self.cluster, self.home.parent):
            if folder.exists() and folder.stat().st_uid != 0:
                with suppress(KeyError):
                    return pwd.getpwuid(folder.stat().st_uid)
                raise EmbeddedError(f"{folder} belongs to a user without an account. {REMEDY}")
        for name in SERVER_ACCOUNTS:
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise EmbeddedError(f"PostgreSQL refuses to run as root: use a regular user. {REMEDY}")

    def _bring_up(self) -> None:
        self._check_cluster()
        server_lock = self._settle()
        if server_lock is None:
            # The process that started it may have been killed before it created the database.
            return self._create_database()
        try:
            self._start(server_lock)
        finally:
            # Closed, not unlocked: the server holds the lock now.
            os.close(server_lock)

    def _check_cluster(self) -> None:
        """Raise an error if the data is inaccessible, so that no empty cluster is created in its place."""
        if self.cluster.is_symlink() and not self.cluster.exists():
            raise EmbeddedError(f"{self.cluster} -> {self.cluster.readlink()} is missing: restore it. {REMEDY}")
        if self.cluster.exists() and not (self.home / "password").exists():
            raise EmbeddedError(f"{self.home / 'password'} is missing: restore it. {REMEDY}")

    def _settle(self) -> int | None:
        """Wait until the server accepts connections (None) or none of its processes is left (returns the server lock).

        Until then it is starting, recovering or stopping, or a child of its killed postmaster still runs.
        """

        def check() -> int | None:
            server_lock = try_lock(self.home / "server.lock")
            if server_lock is None:
                with self._connect() as connection:
                    connection.execute("SELECT 1")
            return server_lock

        retrying = retry_policies.EMBEDDED_SERVER.retrying(retry_if_exception_type((OSError, psycopg.OperationalError)))
        return retrying(check)

    def _start(self, server_lock: int) -> None:
        account = self._account()
        if not self.cluster.exists():
            self._initialise(account, server_lock)
        self._remove_pid_file()
        options = f"{SERVER_OPTIONS} -c unix_socket_directories={self._make_socket_folder(account)}"
        try:
            started = self._pg_ctl("start", "-l", "server.log", "-o", options, pass_fds=[server_lock])
            if started.returncode == 0:
                self._create_database()
        except BaseException:
            self._pg_ctl("stop", "-m", "fast")
            raise
        # Not stopped: a server in recovery continues, and the next process waits for it again.
        if started.returncode != 0:
            log = self.cluster / "server.log"
            raise EmbeddedError(f"PostgreSQL did not start: {last_error(log)} See {log}. {REMEDY}")

    def _stop(self, start_lock: int) -> None:
        server_lock = self._settle()
        if server_lock is None:
            # postmaster.pid reliably names this server only while it accepts connections.
            # pg_ctl inherits the lock: if this process is killed, no other one uses a server that is about to stop.
            stopped = self._pg_ctl("stop", "-m", "fast", pass_fds=[start_lock])
            if stopped.returncode != 0:
                raise EmbeddedError(f"PostgreSQL did not stop: {stopped.stderr.strip()} See {self.cluster}.")
            # pg_ctl returns when postmaster.pid is gone, a moment before the last process has ended.
            server_lock = self._settle()
        drop_lock(server_lock)
        self._remove_socket_folder()

    def _pg_ctl(self, action: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        account = self._account()
        program = programs_for(account) / "pg_ctl"
        command = [program, action, "-s", "-w", "-t", str(retry_policies.EMBEDDED_SERVER.timeout), *arguments]
        return run_as(account, command, self.cluster, **options)

    def _initialise(self, account: Account, server_lock: int) -> None:
        """Create the cluster under another name first, so that a killed initdb doesn't leave an incomplete one."""
        fresh = self.home / "cluster.new"
        remove_unfinished(fresh, account)
        self._make_cluster_folder(fresh, account)
        password = secrets.token_hex(32)
        self._write("password", password)
        # initdb's children inherit the lock, so none of them is still writing when a later start removes its files.
        # Without a terminal, initdb reads the password from its input, so no second file contains it.
        made = run_as(
            account,
            [programs_for(account) / "initdb", *INITDB_OPTIONS, "--no-instructions"],
            fresh,
            input=f"{password}\n{password}\n",
            pass_fds=[server_lock],
        )
        if made.returncode != 0:
            raise EmbeddedError(f"initdb failed: {made.stderr.strip().splitlines()[-1]} {REMEDY}")
        replace(fresh, self.cluster)

    def _make_cluster_folder(self, folder: Path, account: Account) -> None:
        """Create the empty folder for initdb, or a link to one elsewhere if the account can't enter this folder."""
        if account is not None and not succeeds(account, ["test", "-x", self.home]):
            target = make_elsewhere() / secrets.token_hex(8)
            folder.symlink_to(target)
            folder = target
            print(f"{account.pw_name} can't enter {self.home}: its cluster is in {target}", file=sys.stderr)
        make_folder_of(account, folder)

    def _remove_pid_file(self) -> None:
        """Remove a postmaster.pid that a killed server left. It may be empty, or name an unrelated process."""
        pid_file = self.cluster / "postmaster.pid"
        lines = pid_file.read_text(errors="replace").splitlines() if pid_file.exists() else []
        if len(lines) > 4 and is_running(host=lines[4], port=lines[3]):
            # A server that was started by hand doesn't hold the lock. Two servers on one cluster would destroy it.
            raise EmbeddedError(f"Another server runs on {self.cluster}: stop it with pg_ctl. {REMEDY}")
        pid_file.unlink(missing_ok=True)

    def _make_socket_folder(self, account: Account) -> Path:
        """Create a folder with a short path, as a socket's is limited to 107 bytes. A new one has no leftovers."""
        self._remove_socket_folder()
        folder = SOCKETS / f"lockngen-{secrets.token_hex(8)}"
        # Recorded before the folder exists, so that the next start removes it however this process ends.
        self._write("socket", str(folder))
        make_folder_of(account, folder)
        return folder

    def _remove_socket_folder(self) -> None:
        with suppress(FileNotFoundError):
            folder = Path((self.home / "socket").read_text())
            # The owner of this file can write any path into it, which root must not remove.
            ours = folder.parent == SOCKETS and folder.name.startswith("lockngen-")
            if ours and folder.lstat().st_uid in (self.cluster.stat().st_uid, os.geteuid()):
                shutil.rmtree(folder)
        (self.home / "socket").unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        fresh = self.home / f"{name}.new"
        fresh.unlink(missing_ok=True)
        with open(open_private(fresh), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        replace(fresh, self.home / name)

    def _url(self, database: str) -> str:
        password = (self.home / "password").read_text()
        folder = quote((self.home / "socket").read_text(), safe="")
        # Without the port libpq would use PGPORT.
        return f"postgres://lockn:{password}@:5432/{database}?host={folder}"

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=5)

    def _create_database(self) -> None:
        with self._connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'lockngen'").fetchone()
            if found is None:
                # A killed process's statement may still be running. This one then waits for its outcome.
                with suppress(DuplicateDatabase, UniqueViolation):
                    connection.execute("CREATE DATABASE lockngen")


@contextmanager
def explained(home: Path) -> Iterator[None]:
    """Raise errors of the system and the database as one line with a remedy."""
    try:
        yield
    except (OSError, psycopg.Error) as error:
        raise EmbeddedError(f"The PostgreSQL in {home} failed: {one_line(error).rstrip('.')}. {REMEDY}") from error


def is_running(host: str, port: str) -> bool:
    """Whether a server listens there, even one that was started by hand."""
    address = make_conninfo(host=host, port=port, connect_timeout=5)
    return PGconn.ping(address.encode()) in (Ping.OK, Ping.REJECT)


def last_error(log: Path) -> str:
    """The last line about a fatal error or, without one, the last line."""
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (fatal or lines or ["its log is empty."])[-1]
