"""LockN Gen as in production: DEBUG off, collected static files, one web and one worker, on a PostgreSQL of its own."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import call_command
from django.test import override_settings

from lockngen.tests.support.cluster import Cluster
from lockngen.tests.support.dev import Api
from lockngen.tests.support.keys import insert_key
from lockngen.tests.support.processes import WORKER, Process, free_port
from lockngen.tests.support.web import Web

MANIFEST = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}
ADMIN = ("ann", "correct horse battery")


class Service(Api):
    def __init__(self, folder: Path, cluster: Cluster, **variables: str):
        self.cluster, self.port = cluster, free_port()
        environment = {
            "DEBUG": "off",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": cluster.url,
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
        with self.cluster.connect() as connection:
            connection.execute(statement, parameters)

    def value(self, statement: str, **parameters):
        with self.cluster.connect() as connection:
            return connection.execute(statement, parameters).fetchone()[0]

    def count(self, what: str) -> int:
        return self.value(f"SELECT count(*) FROM {what}")

    def make_token(self, rate_limit: int = 0) -> str:
        """The token of a new key, by default without a limit."""
        return insert_key(self.cluster.url, "Browser", rate_limit)

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
    def stopped_database(self) -> Iterator[None]:
        self.cluster.stop("fast")
        yield
        self.cluster.start()


@contextmanager
def serve(folder: Path, **variables: str) -> Iterator[Service]:
    with override_settings(STATIC_ROOT=folder / "static", STORAGES=MANIFEST):
        call_command("collectstatic", verbosity=0, interactive=False)
    with closing(Cluster(folder / "data")) as cluster:
        service = Service(folder, cluster, **variables)
        try:
            yield service
        finally:
            service.stop()
