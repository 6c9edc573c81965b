"""Load by wrk on a server, and its cost."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.database import postmaster, row_id
from benchmarks.served import Server, cpu_seconds

KEYS, IDS = 50, 4000
EVEN = 0.6  # a run counts if the less busy process has used at least this share of the other's processor time
ATTEMPTS = 4  # to get an even run


@dataclass(frozen=True)
class Result:
    """One run. Times are milliseconds."""

    requests: float  # a second
    p50: float
    p99: float
    cpu: float  # processor time of web and PostgreSQL for each request
    balance: float  # processor time of the less busy process, relative to the busier
    generator: float  # the load generator's share of the machine's processor time
    others: float  # the share of processes that don't belong to the benchmark
    failed: int


def require_wrk() -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk, or https://github.com/wg/wrk")


def write_calls(path: Path, tokens: list[str], rows: int) -> Path:
    """A file of calls: token, id and cursor in each line, spread evenly over the keys and their rows."""
    from generations.api import cursors

    step = rows // IDS
    numbers = [number + number // step % len(tokens) for number in range(0, rows - len(tokens), step)]
    lines = [f"{tokens[n % len(tokens)]} {row_id(n)} {cursors.encode(row_id(n))}" for n in numbers]
    path.write_text("\n".join(lines))
    return path


def run(server: Server, operation: str, connections: int, calls: Path, seconds: int, header: str = "") -> Result:
    """The most even of a few runs, or the first that is even enough. `header` is added to each request."""
    results = []
    while len(results) < ATTEMPTS:
        results.append(_run(server, operation, connections, calls, seconds, header))
        if results[-1].balance >= EVEN:
            return results[-1]
    return max(results, key=lambda result: result.balance)


def _run(server: Server, operation: str, connections: int, calls: Path, seconds: int, header: str) -> Result:
    database = postmaster()
    before, machine = _used(server, database), _machine_seconds()
    by_worker, started_at = server.worker_seconds(), time.monotonic()
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    script = Path(__file__).with_name("load.lua")
    done = subprocess.run(
        ["wrk", *options, "-s", script, f"http://127.0.0.1:{server.port}"],
        env={**os.environ, "OPERATION": operation, "CALLS": str(calls), "HEADER": header},
        capture_output=True,
        text=True,
        check=True,
    )
    capacity = (time.monotonic() - started_at) * psutil.cpu_count()
    web, postgres, generator = (after - b for after, b in zip(_used(server, database), before, strict=True))
    busy = sorted(after - by_worker.get(pid, 0) for pid, after in server.worker_seconds().items())[-2:]
    figures = json.loads(re.search("^RESULT (.*)$", done.stdout, re.MULTILINE)[1])
    return Result(
        requests=figures["requests"] / figures["seconds"],
        p50=figures["p50"],
        p99=figures["p99"],
        cpu=(web + postgres) / max(1, figures["requests"]) * 1000,
        balance=busy[0] / busy[-1] if busy[-1] else 0,
        generator=generator / capacity,
        others=max(0, _machine_seconds() - machine - web - postgres - generator) / capacity,
        failed=figures["failed"],
    )


def _used(server: Server, database: psutil.Process | None) -> tuple[float, float, float]:
    """Processor seconds of the web, PostgreSQL and the generator."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return server.cpu_seconds(), cpu_seconds(database), ended.ru_utime + ended.ru_stime


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
