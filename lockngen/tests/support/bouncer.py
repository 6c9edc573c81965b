"""A real PgBouncer in front of its own PostgreSQL, with the configuration that docs/operations.md recommends."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from lockngen.database.embedded import Server
from lockngen.environment import BASE_DIR
from lockngen.tests.support.embedded_servers import copy_migrated
from lockngen.tests.support.processes import Process, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


class Bouncer:
    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        copy_migrated(folder / "data")
        self.server = Server(folder / "data")
        self.start_server()
        self.password = (self.server.home / "password").read_text()
        self.write("userlist.txt", f'"lockn" "{self.password}"')
        self.write("pgbouncer.ini", self.configuration())
        self.start()

    def start_server(self) -> None:
        self.server.acquire()
        # Its socket is elsewhere after each start.
        socket = self.folder / "socket"
        socket.unlink(missing_ok=True)
        socket.symlink_to((self.server.home / "socket").read_text())

    def stop_server(self, mode: str = "immediate") -> None:
        self.server._pg_ctl("stop", "-m", mode)

    def configuration(self) -> str:
        (recommended,) = re.findall(r"```ini\n(.*?)```", (BASE_DIR / "docs/operations.md").read_text(), re.DOTALL)
        ours = {
            "lockngen = ": "* = ",  # whatever databases the tests make
            " dbname=lockngen": "",
            "/var/run/postgresql": f"{self.folder}/socket",
            "listen_port = 6432": f"listen_port = {self.port}\nunix_socket_dir =",
            "/etc/pgbouncer/": f"{self.folder}/",
        }
        for theirs, mine in ours.items():
            assert theirs in recommended
            recommended = recommended.replace(theirs, mine)
        return recommended

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def start(self) -> None:
        # Like PostgreSQL, it refuses to run as root.
        owner = self.server.cluster.stat()
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.process = Process([PROGRAM, self.folder / "pgbouncer.ini"], self.folder / "pgbouncer.log", **account)
        self.process.wait_until(self.answers, seconds=10)

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            return bool(self.console("SHOW VERSION"))
        return False

    def stop(self) -> None:
        self.process.stop()

    def close(self) -> None:
        self.stop()
        self.server.release()

    def address(self, database: str = "lockngen") -> str:
        return f"postgres://lockn:{self.password}@127.0.0.1:{self.port}/{database}"

    def direct_address(self, database: str = "lockngen") -> str:
        return f"postgres://lockn:{self.password}@:5432/{database}?host={quote(f'{self.folder}/socket', safe='')}"

    def variables(self, database: str = "lockngen") -> dict[str, str]:
        """The environment of a process that connects through it."""
        addresses = {"DATABASE_URL": self.address(database), "DATABASE_DIRECT_URL": self.direct_address(database)}
        return {"DB_PGBOUNCER": "on", **addresses}

    def ask(self, statement: str, database: str = "lockngen"):
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def console(self, command: str) -> list[dict]:
        with psycopg.connect(self.address("pgbouncer"), autocommit=True, row_factory=psycopg.rows.dict_row) as console:
            cursor = console.execute(command)
            return cursor.fetchall() if cursor.description else []
