"""LockN Gen as in production: DEBUG off, collected static files, one web and one worker, on a database of its own."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from psycopg import sql

from apikeys import tokens
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.dev import Api
from lockngen.tests.support.processes import WORKER, Process, free_port
from lockngen.tests.support.web import Web

MANIFEST = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}
ADMIN = ("ann", "correct horse battery")


class Service(Api):
    def __init__(self, folder: Path, database: str, **variables: str):
        self.database, self.port = database, free_port()
        environment = {
            "DEBUG": "off",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": database,
            "DJANGO_SETTINGS_MODULE": "lockngen.tests.browser.production",
            "BROWSER_STATIC_ROOT": str(folder / "static"),
            "LOCKNGEN_DATA": str(folder),
            **variables,
        }
        self.web = Web(self.port, folder / "web.log", workers=1, **environment)
        self.worker = Process(WORKER, folder / "worker.log", {**os.environ, **environment})
        self.token = self.make_token()
        self.web.wait_until_ready()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create(self, **fields) -> dict:
        return super().create(**{"width": 96, "height": 64, **fields})

    def output(self) -> str:
        return self.web.output() + self.worker.output()

    def stop(self) -> None:
        for process in (self.web, self.worker):
            process.send_signal(signal.SIGTERM)
        for process in (self.web, self.worker):
            process.wait()

    def execute(self, statement: str, **parameters) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement, parameters)

    def value(self, statement: str, **parameters):
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement, parameters).fetchone()[0]

    def count(self, what: str) -> int:
        return self.value(f"SELECT count(*) FROM {what}")

    def make_token(self, rate_limit: int = 1000) -> str:
        """The token of a new key."""
        token = tokens.make()
        self.execute(
            "INSERT INTO apikeys_apikey (id, key_hash, prefix, name, rate_limit) VALUES"
            " (%(id)s, %(hash)s, %(prefix)s, %(name)s, %(rate_limit)s)",
            id=uuid4(),
            hash=tokens.digest(token),
            prefix=tokens.visible(token),
            name=f"Browser {token[-8:]}",
            rate_limit=rate_limit,
        )
        return token

    def make_admin(self) -> None:
        name, password = ADMIN
        self.execute(
            "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name,"
            " email, date_joined) VALUES (%(name)s, %(password)s, true, true, true, '', '', '', now())",
            name=name,
            password=MD5PasswordHasher().encode(password, "salt"),
        )

    @contextmanager
    def paused_worker(self) -> Iterator[None]:
        """What is submitted in this block waits until its end."""
        self.worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send_signal(signal.SIGCONT)

    @contextmanager
    def stopped_web(self) -> Iterator[None]:
        """Nothing responds in this block, and a new web after it."""
        assert self.web.stop() == 0, self.web.output()
        yield
        self.web.start()
        self.web.wait_until_ready()

    @contextmanager
    def unreachable_database(self) -> Iterator[None]:
        """All sessions end, and the server accepts no new ones for this database."""
        name = sql.Identifier(urlsplit(self.database).path[1:])
        with psycopg.connect(database_url("postgres"), autocommit=True) as server:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name._obj[0]])
            try:
                yield
            finally:
                server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


@contextmanager
def serve(folder: Path, **variables: str) -> Iterator[Service]:
    """A service on a copy of the tests' database."""
    with override_settings(STATIC_ROOT=folder / "static", STORAGES=MANIFEST):
        call_command("collectstatic", verbosity=0, interactive=False)
    with copied_database() as database:
        service = Service(folder, database, **variables)
        try:
            yield service
        finally:
            service.stop()


@contextmanager
def copied_database() -> Iterator[str]:
    """A copy of the tests' database as migrated, by its URL."""
    source, name = connection.settings_dict["NAME"], f"test_{secrets.token_hex(4)}"
    connection.close()
    connection.close_pool()  # nobody may use what is copied
    with psycopg.connect(database_url("postgres"), autocommit=True) as server:
        server.execute(f'CREATE DATABASE {name} TEMPLATE "{source}"')
        try:
            yield database_url(name)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
