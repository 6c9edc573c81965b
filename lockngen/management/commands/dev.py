"""Runs all of LockN Gen on one machine, for development: `bin/dev`."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from io import StringIO
from pathlib import Path

from django.conf import settings
from django.core.checks import WARNING
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.models import Max
from procrastinate.contrib.django.models import ProcrastinateWorker

from lockngen import environment as env
from lockngen import ports
from lockngen.database.direct import directly

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a supervisor, the end of the terminal
PROGRAMS = {
    "web": [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.asgi"],
    "worker": [sys.executable, "manage.py", "procrastinate", "worker"],
}
READY_TIMEOUT = 60  # seconds until the web and the worker must be ready
RESTART_PAUSE = 1  # seconds before a process that exited is restarted
STOP_TIMEOUT = settings.RENDER_GRACE + 10  # seconds that a stopping process has before it is killed
PARENT_DEATH_SIGNAL = 1  # prctl(2)'s PR_SET_PDEATHSIG
LIBC = ctypes.CDLL(None)  # loaded here, as a forked child should do as little as possible


class Command(BaseCommand):
    help = "Run everything on this machine: database, migrations, web and one worker. Ctrl-C stops all of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--remember-data", action="store_true", help="later commands without LOCKNGEN_DATA use this data folder"
        )

    def handle(self, *, remember_data: bool = False, **options) -> None:
        self.children: dict[str, subprocess.Popen] = {}
        # A server that listens on all addresses is reachable at the loopback address.
        self.host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(env.host(), env.host())  # noqa: S104
        self.port = env.port()
        lock = lock_data_folder(env.data_folder())
        if error := ports.error_of((env.host(), self.port)):
            raise CommandError(error)
        if remember_data:
            env.remember_data_folder()
            self.stderr.write(f"Data folder: {env.data_folder()}")
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt
        try:
            self.run()
        except KeyboardInterrupt:
            self.stderr.write("Stopping …")
        finally:
            self.end_children()
            lock.close()

    def run(self) -> None:
        # Bypass PgBouncer: it would keep a session that started before migrate set the role's timeouts.
        with directly(connection):
            call_command("waitdb")
        self.stderr.write("Migrating …")
        call_command("migrate", verbosity=0, interactive=False)
        self.check(databases=["default"], fail_level=WARNING)
        token = self.development_token()
        last_worker = ProcrastinateWorker.objects.aggregate(id=Max("id"))["id"] or 0
        for name in PROGRAMS:
            self.start(name)
        self.wait_until_ready(last_worker)
        self.greet(token)
        self.supervise()

    def development_token(self) -> str | None:
        if not settings.DEBUG:
            return None
        printed = StringIO()
        call_command("apikey", "ensure-development", stdout=printed)
        return printed.getvalue().strip()

    def start(self, name: str) -> None:
        # A new session: Ctrl-C reaches this process only, which ends the others in order.
        self.children[name] = subprocess.Popen(
            PROGRAMS[name],
            cwd=settings.BASE_DIR,
            env={**os.environ, env.PRESTART_DONE: "1", env.SHOW_REQUESTS: "1"},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def wait_until_ready(self, last_worker: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while not (self.web_responds() and ProcrastinateWorker.objects.filter(id__gt=last_worker).exists()):
            for name, child in self.children.items():
                if child.poll() is not None:
                    raise CommandError(f"The {name} ended with code {child.returncode}: see the lines above.")
            if time.monotonic() > deadline:
                raise CommandError(f"Not ready after {READY_TIMEOUT} seconds: see the lines above.")
            time.sleep(0.1)
        connection.close()

    def web_responds(self) -> bool:
        # http.client ignores the proxy settings of the environment.
        client = HTTPConnection(self.host, self.port, timeout=5)
        try:
            client.request("GET", "/ht/live")
            return client.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            client.close()

    def greet(self, token: str | None) -> None:
        address = f"http://{self.host}:{self.port}"
        self.stdout.write(f"Ready: {address}")
        if token is None:
            self.stdout.write("The development key needs DEBUG=on. Make one: manage.py apikey create NAME")
        else:
            self.stdout.write(f"Development key: {token}")
            self.stdout.write(
                f"Try it: curl {address}/api/v1/generations -H 'Authorization: Bearer {token}'"
                """ -H 'Content-Type: application/json' -d '{"prompt": "a lighthouse at dusk"}'"""
            )
        self.stdout.flush()

    def supervise(self) -> None:
        while True:
            for name, child in self.children.items():
                if child.poll() is not None:
                    self.stderr.write(f"The {name} ended with code {child.returncode}; restarting it.")
                    time.sleep(RESTART_PAUSE)
                    self.start(name)
            time.sleep(0.5)

    def end_children(self) -> None:
        # A second Ctrl-C must not interrupt the shutdown.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for child in self.children.values():
            child.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self.children.values():
            try:
                child.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def lock_data_folder(folder: Path):
    """Lock the data folder, so that only one instance uses it. Returns the open lock file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "dev.lock", "w")  # noqa: SIM115  held until the end
    except OSError as error:
        raise CommandError(f"LOCKNGEN_DATA can't be used: {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        remedy = "stop it, or set LOCKNGEN_DATA to another folder."
        raise CommandError(f"LockN Gen already runs on {folder}: {remedy}") from None
    return lock


def die_with_parent() -> None:
    """End this child process when its parent is killed. Linux only."""
    if sys.platform == "linux":
        LIBC.prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
