"""Processes that run beside a test."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from lockngen.environment import BASE_DIR
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.waiting import wait_until

WEB = [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.asgi"]
WORKER = [sys.executable, "manage.py", "procrastinate", "worker"]
T = TypeVar("T")


class Process:
    """A program in the background that appends its output to a log."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None, **options):
        self.command, self.log, self.environment, self.options = command, log, environment, options
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            options = {"cwd": BASE_DIR, "stdout": log, "stderr": subprocess.STDOUT, **self.options}
            self.process = subprocess.Popen(self.command, env=self.environment, **options)

    def output(self) -> str:
        return self.log.read_text()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], T], seconds: float = 30) -> T:
        """Wait until the condition holds; the test fails with the output if the process ends before."""

        def holds() -> T:
            assert self.is_running(), self.output()
            return condition()

        return wait_until(holds, seconds, self.output)

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """The exit code, once it ends."""
        return self.process.wait(seconds)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40) -> int:
        """Send a signal and return the exit code; a process that does not end in time is killed."""
        self.send_signal(number)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self.process.kill()
        return self.wait()


class Command(subprocess.Popen):
    """A process that is killed at the end of its `with` block if it still runs."""

    def __exit__(self, *args) -> None:
        self.kill()
        super().__exit__(*args)


def manage(*arguments: str, variables: dict[str, str] | None = None, **options) -> Command:
    """One of manage.py's commands, by default on the test's database."""
    environment = {**os.environ, "DEBUG": "on", "DATABASE_URL": database_url(), **(variables or {})}
    return Command([sys.executable, "manage.py", *arguments], cwd=BASE_DIR, env=environment, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
