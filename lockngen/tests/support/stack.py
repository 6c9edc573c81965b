"""A whole LockN Gen of real processes, each under a supervisor, on a PostgreSQL of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from apikeys.querysets import DEVELOPMENT_TOKEN
from lockngen.management.commands.dev import die_with_parent
from lockngen.tests.support.cluster import Cluster
from lockngen.tests.support.dev import URL
from lockngen.tests.support.keys import insert_key
from lockngen.tests.support.processes import WEB, WORKER, Process, free_port
from lockngen.tests.support.waiting import wait_until
from lockngen.web.problems import IN_DOUBT

POLLING = ["--fetch-job-polling-interval", "0.2"]  # a rescued job is fetched by polling
MORTAL_WORKER = [sys.executable, "-m", "lockngen.tests.support.mortal_worker", "procrastinate", "worker", *POLLING]
RESTART_PAUSE = 0.2  # seconds

# Every change of a generation into an end, of that end, or out of it.
AUDIT = """
    CREATE TABLE ends (generation uuid, status integer, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO ends (generation, status) VALUES (NEW.id, NEW.status); RETURN NULL; END $$;
    CREATE TRIGGER note_end AFTER UPDATE ON generations_generation FOR EACH ROW
        WHEN ((NEW.status, NEW.completed_at) IS DISTINCT FROM (OLD.status, OLD.completed_at)
              AND (NEW.status >= 2 OR OLD.status >= 2)) EXECUTE FUNCTION note_end();
"""


class Program(Process):
    """A process that is started again whenever it ends, whatever its exit code."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]):
        self.exit_codes: list[int] = []
        self.over, self.wanted, self.parked = threading.Event(), threading.Event(), threading.Event()
        self.wanted.set()
        super().__init__(command, log, environment, start_new_session=True, preexec_fn=die_with_parent)
        self.supervisor = threading.Thread(target=self._supervise, daemon=True)
        self.supervisor.start()

    def _supervise(self) -> None:
        while True:
            self.exit_codes.append(self.process.wait())
            self.over.wait(RESTART_PAUSE)
            self.parked.set()
            self.wanted.wait()
            self.parked.clear()
            if self.over.is_set():
                return
            self.start()

    def park(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal, wait for the end, and keep the process down until `resume`; returns its exit code."""
        self.wanted.clear()
        self._signal_until(self.parked.is_set, number, seconds)
        return self.exit_codes[-1]

    def _signal_until(self, is_down: Callable[[], bool], number: int, seconds: float) -> None:
        signalled = []

        def signal_and_check() -> bool:
            if self.process not in signalled:  # it may just be starting again
                signalled.append(self.process)
                self.send_signal(number)
            return is_down()

        wait_until(signal_and_check, seconds, self.output)

    def resume(self, **variables: str) -> None:
        """Start it again if it was kept down."""
        if not self.wanted.is_set():
            before, self.environment = self.process, {**self.environment, **variables}
            self.wanted.set()
            wait_until(lambda: self.process is not before, 10)

    def restart_with(self, **variables: str) -> None:
        """Start it again with these variables, if it has other ones."""
        if self.environment.items() >= variables.items():
            return
        self.park()
        self.resume(**variables)

    def close(self) -> None:
        self.over.set()
        self.wanted.set()
        try:
            self._signal_until(lambda: not self.supervisor.is_alive(), signal.SIGTERM, 20)
        finally:
            self.process.kill()
            self.supervisor.join()


class Stack:
    def __init__(self, folder: Path, **variables: str):
        self.folder, self.port = folder, free_port()
        self.data = folder / "data"
        self.images = self.data / "images"
        self.cluster = Cluster(self.data)
        own = {"DEBUG": "on", "DATABASE_URL": self.cluster.url, "LOCKNGEN_DATA": str(self.data), "PORT": str(self.port)}
        self.environment = {**os.environ, **own, **variables}
        self.programs: list[Program] = []
        self.client = Client(self)

    def start(self) -> None:
        self.web = self.run("web", WEB)
        wait_until(lambda: self.client.get("/ht/").status == 200, 60, self.web.output)
        self.cluster.rows(AUDIT)
        self.worker = self.run_worker()

    def run(self, name: str, command: list[str], **variables: str) -> Program:
        self.programs.append(Program(command, self.folder / f"{name}.log", {**self.environment, **variables}))
        return self.programs[-1]

    def run_worker(self, name: str = "worker", *options: str, **variables: str) -> Program:
        return self.run_workers(1, name, [*WORKER, *options], **variables)[0]

    def run_workers(self, count: int, name: str, command: list[str], **variables: str) -> list[Program]:
        known = self.newest_worker()
        workers = [self.run(name, command, **variables) for _ in range(count)]
        wait_until(lambda: self.newest_worker() >= known + count, 30, workers[0].output)
        return workers

    def close_workers(self, workers: list[Program]) -> None:
        for worker in workers:
            worker.close()
            self.programs.remove(worker)

    @contextmanager
    def without_connections(self) -> Iterator[None]:
        """Other sessions hold all connections. They are opened while this stack's processes can't connect."""
        programs = [psutil.Process(program.process.pid) for program in self.programs]
        processes = programs + [child for program in programs for child in program.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            self.cluster.terminate_backends()
            with self.cluster.exhausted():
                for process in processes:
                    process.resume()
                yield
        finally:
            for process in processes:
                process.resume()

    def make_token(self, name: str) -> str:
        """The token of a new key without a limit."""
        return insert_key(self.cluster.url, name)

    def newest_worker(self) -> int:
        return self.cluster.value("SELECT coalesce(max(id), 0) FROM procrastinate_workers")

    def close(self) -> None:
        for program in reversed(self.programs):
            program.close()
        self.client.close()
        self.cluster.close()


class Client:
    """HTTP with one connection that is kept open."""

    def __init__(self, stack: Stack, timeout: float = 60, token: str = DEVELOPMENT_TOKEN):
        self.port, self.timeout, self.token = stack.port, timeout, token
        self.connection: HTTPConnection | None = None

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def create(self, prompt: str, **fields) -> Answer:
        return self.ask("POST", URL, {"prompt": prompt, "width": 64, "height": 64, **fields})

    def ask(self, method: str, path: str, body: dict | None = None) -> Answer:
        started_at = time.monotonic()
        try:
            if self.connection is None:
                self.connection = HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
            self.connection.request(method, path, json.dumps(body) if body else None, headers)
            response = self.connection.getresponse()
            return Answer(started_at, response.status, response.read(), response.getheader("Retry-After"))
        except (OSError, HTTPException) as error:
            self.close()
            return Answer(started_at, error=error)

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Answer:
    def __init__(self, started_at, status=None, body=b"", retry_after=None, error=None):
        self.started_at, self.ended_at = started_at, time.monotonic()
        self.status, self.body, self.retry_after, self.error = status, body, retry_after, error

    def __repr__(self) -> str:
        return f"<{self.status or self.error!r} {self.body[:200]} after {self.seconds:.2f} s>"

    @property
    def seconds(self) -> float:
        return self.ended_at - self.started_at

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def outcome(self) -> str:
        if self.status is None or IN_DOUBT.encode() in self.body:
            return "unknown"
        return "ok" if self.status < 300 else "failed"


def let_leases_end(stack: Stack) -> None:
    """Make the workers' heartbeats old."""
    stack.cluster.rows("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")


def rescue(stack: Stack) -> None:
    """Enqueue the periodic task now."""
    stack.cluster.rows(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        """ VALUES ('maintenance', 'generations.rescue_stalled', '{"timestamp": 0}')"""
    )
