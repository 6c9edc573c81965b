"""What the limiter costs: requests a second of a cheap call with it and without, through gunicorn. See README.md.

.venv/bin/python benchmarks/limiter.py [--rounds 5] [--seconds 5]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

import psutil

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
KEYS, CONNECTIONS, UNREACHED = 50, 16, 2**31 - 1
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "benchmarks/served.py"]


class Result(NamedTuple):
    requests: float  # a second
    cpu: float  # milliseconds of the web's and PostgreSQL's processors, for each request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of every case in turn (5)")
    parser.add_argument("--seconds", type=int, default=5, help="for each case in a round (5)")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk, or https://github.com/wg/wrk")
    with tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder, database(Path(folder)):
        run(Path(folder), arguments.rounds, arguments.seconds)


@contextmanager
def database(folder: Path):
    """A new embedded PostgreSQL. What is measured runs with DEBUG off, as in production."""
    folder.chmod(0o755)  # as root, the server runs as another user
    os.environ.update(DEBUG="on", DATABASE_URL="", LOCKNGEN_DATA=str(folder / "data"), AUTO_MIGRATE="off")
    from lockngen import environment

    with environment.development_database():
        os.environ.update(DEBUG="off", SECRET_KEY=token_urlsafe(50), DJANGO_SETTINGS_MODULE="lockngen.settings")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield


def run(folder: Path, rounds: int, seconds: int) -> None:
    unlimited, limited = seed(folder, "unlimited", 0), seed(folder, "limited", UNREACHED)
    hot = folder / "hot"
    hot.write_text(limited.read_text().splitlines()[0])
    with served("lockngen.asgi") as with_limiter, served("benchmarks.without:application") as without:
        cases = {
            "off": (with_limiter, unlimited),
            f"on, {KEYS} keys": (with_limiter, limited),
            "on, one key": (with_limiter, hot),
            "a plain SELECT instead": (without, unlimited),
        }
        measured = {name: [] for name in cases}
        for round_ in range(rounds + 1):
            for name, (to, calls) in cases.items():
                result = wrk(to, calls, seconds if round_ else 2)
                if round_:  # the first one warms up
                    measured[name].append(result)
    report(measured)


def seed(folder: Path, name: str, rate_limit: int) -> Path:
    """A file of what is called: a token and the id of a generation of its key in each line."""
    from apikeys.models import ApiKey
    from generations.models import Generation

    lines = []
    for _ in range(KEYS):
        key, token = ApiKey.objects.issue(name=name, rate_limit=rate_limit)
        lines.append(f"{token} {Generation.objects.create(api_key=key, prompt='a lighthouse').id}")
    (folder / name).write_text("\n".join(lines))
    return folder / name


@contextmanager
def served(application: str):
    port = free_port()
    process = subprocess.Popen([*GUNICORN, application], cwd=HERE.parent, env={**os.environ, "PORT": str(port)})
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(40)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    opener, deadline = build_opener(ProxyHandler({})), time.monotonic() + 30
    while True:
        try:
            opener.open(f"http://127.0.0.1:{port}/ht/live", timeout=5).close()
            return time.sleep(1)  # for the second process as well
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wrk(port: int, calls: Path, seconds: int) -> Result:
    used = cpu_seconds()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", HERE / "limiter.lua", f"http://127.0.0.1:{port}"],
        env={**os.environ, "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(done.stdout)
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    return Result(float(re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)[1]), (cpu_seconds() - used) / count * 1000)


def cpu_seconds() -> float:
    """What this benchmark's own web and PostgreSQL processes have used."""
    times = [process.cpu_times() for process in [*psutil.Process().children(recursive=True), *postgres()]]
    return sum(time.user + time.system for time in times)


def postgres() -> list[psutil.Process]:
    postmaster = int((Path(os.environ["LOCKNGEN_DATA"]) / "postgres/cluster/postmaster.pid").read_text().split()[0])
    return psutil.Process(postmaster).children(recursive=True)


def report(measured: dict[str, list[Result]]) -> None:
    print(f"| {'limiter':24} | requests/s | against off | CPU ms | against off |")
    print(f"|{'-' * 26}|{'-' * 11}:|{'-' * 12}:|{'-' * 7}:|{'-' * 12}:|")
    for name, results in measured.items():
        rate, rate_ratio = medians(results, measured["off"], "requests")
        cpu, cpu_ratio = medians(results, measured["off"], "cpu")
        print(f"| {name:24} | {rate:10.0f} | {rate_ratio:+10.1f}% | {cpu:6.2f} | {cpu_ratio:+10.1f}% |")


def medians(results: list[Result], off: list[Result], figure: str) -> tuple[float, float]:
    """The median of the rounds, and the median of how each round differs from the same round with it off."""
    mine, others = ([getattr(result, figure) for result in rounds] for rounds in (results, off))
    return statistics.median(mine), statistics.median(a / b * 100 - 100 for a, b in zip(mine, others, strict=True))


if __name__ == "__main__":
    main()
