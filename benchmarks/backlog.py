"""The cost of a long queue: submitting and fetching with 100 generations pending, and with 100,000. See README.md.

.venv/bin/python -m benchmarks.backlog [--rounds 10] [--calls 40] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.database import database, make_keys

SHORT, LONG, KEYS = 100, 100_000, 10
QUEUES = {"fetch": None, "fetch from render": ["render"]}

# The keys submit in rotation, one generation each millisecond.
FILL_GENERATIONS = """
    INSERT INTO generations_generation (id, api_key_id, prompt)
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - %(count)s + number), 12, '0')
            || '7000' || '8' || substr(md5(number::text), 1, 15))::uuid,
           (%(keys)s::uuid[])[1 + number %% %(key_count)s], 'backlog ' || number
    FROM generate_series(0, %(count)s - 1) number
"""
FILL_JOBS = """
    INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args, priority)
    SELECT 'render', 'generations.render', id::text, jsonb_build_object('generation_id', id),
           %(first)s - %(share)s * ((row_number() OVER (ORDER BY id) - 1) / %(key_count)s)
    FROM generations_generation ORDER BY id
"""
FILL_SHARES = """
    INSERT INTO generations_turn (api_key_id, taken, taken_at, started)
    SELECT unnest(%(keys)s::uuid[]), %(share)s * (%(count)s / %(key_count)s), now(), 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="each measures both queues (10)")
    parser.add_argument("--calls", type=int, default=40, help="calls of each kind for each queue in a round (40)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder, database(Path(folder)):
        costs = run(arguments.rounds, arguments.calls)
    print(json.dumps(costs)) if arguments.json else report(costs)


def run(rounds: int, calls: int) -> dict[str, dict[str, float]]:
    from apikeys.models import ApiKey

    keys = list(ApiKey.objects.filter(pk__in=make_keys(KEYS, rate_limit=0)))
    measured = {SHORT: defaultdict(list), LONG: defaultdict(list)}
    copy_the_database(SHORT, LONG)
    with asyncio.Runner() as runner:
        queues = [Backlog(count, keys, runner) for count in measured]
        for round_ in range(rounds + 1):
            for queue in queues:
                for call, milliseconds in queue.measure(calls).items():
                    if round_:  # the first one warms up
                        measured[queue.pending][call].append(milliseconds)
        for queue in queues:
            queue.close()
    return {call: summary(measured[SHORT][call], measured[LONG][call]) for call in measured[SHORT]}


class Backlog:
    """A database with `pending` generations, and the calls that are measured on it."""

    def __init__(self, pending: int, keys: list, runner: asyncio.Runner):
        from procrastinate.contrib.django import app
        from procrastinate.manager import JobManager

        self.pending, self.keys, self.runner = pending, keys, runner
        self.use()
        fill(pending, keys, then="VACUUM ANALYZE")
        self.connector = app.connector.get_worker_connector()
        self.runner.run(self.connector.open_async())
        self.jobs = JobManager(self.connector)
        self.worker_id = self.runner.run(self.jobs.register_worker())

    def use(self) -> None:
        from django.db import connections

        connections["default"] = connections[name(self.pending)]

    def measure(self, calls: int) -> dict[str, list[float]]:
        """Milliseconds of so many calls of each kind. As many are submitted as are fetched."""
        self.use()
        taken = defaultdict(list)
        for number in range(calls):
            for kind, names in QUEUES.items():
                taken["submit"].append(timed(lambda number=number: self.submit(number)))
                taken[kind].append(timed(lambda names=names: self.fetch(names)))
        return taken

    def submit(self, number: int) -> None:
        from generations.models import Generation

        Generation.objects.submit(api_key=self.keys[number % KEYS], prompt="one more")

    def fetch(self, queues: list[str] | None) -> None:
        """Fetch a job as a worker does."""
        assert self.runner.run(self.jobs.fetch_job(queues=queues, worker_id=self.worker_id))

    def close(self) -> None:
        from django.db import connections

        self.runner.run(self.connector.close_async())
        close(connections[name(self.pending)])


def name(pending: int) -> str:
    """Of a database, and its alias."""
    return f"backlog_{pending}"


def copy_the_database(*backlogs: int) -> None:
    from django.db import connection, connections

    settings = connection.settings_dict
    with connection._nodb_cursor() as cursor:
        close(connection)  # a template database must have no connections
        for pending in backlogs:
            cursor.execute(f"CREATE DATABASE {name(pending)} TEMPLATE {settings['NAME']}")
            connections.settings[name(pending)] = {**settings, "NAME": name(pending)}


def close(connection) -> None:
    connection.close()
    connection.close_pool()


def fill(pending: int, keys: list, then: str = "ANALYZE") -> None:
    """Insert `pending` generations, submitted by the keys in rotation."""
    from django.db import connection

    from generations.scheduling.fair_share import FIRST, ONE_SHARE

    ids = [key.pk for key in keys]
    values = {"count": pending, "keys": ids, "key_count": len(ids), "first": FIRST, "share": ONE_SHARE}
    with connection.cursor() as cursor:
        for statement in (FILL_GENERATIONS, FILL_JOBS, FILL_SHARES):
            cursor.execute(statement, values)
        cursor.execute(then)


def timed(call: Callable[[], None]) -> float:
    started_at = time.perf_counter()
    call()
    return (time.perf_counter() - started_at) * 1000


def summary(short: list[list[float]], long: list[list[float]]) -> dict[str, float]:
    """Medians and 95th percentiles of all calls, in milliseconds, and the median of the rounds' own ratios."""
    figures = {}
    for pending, rounds in ((SHORT, short), (LONG, long)):
        calls = [milliseconds for round_ in rounds for milliseconds in round_]
        *_, p95 = statistics.quantiles(calls, n=20)
        figures |= {f"median_{pending}": statistics.median(calls), f"p95_{pending}": p95}
    ratios = [statistics.median(b) / statistics.median(a) for a, b in zip(short, long, strict=True)]
    return {**figures, "ratio": statistics.median(ratios)}


def report(costs: dict[str, dict[str, float]]) -> None:
    print("| ms                | median, 100 | p95, 100 | median, 100,000 | p95, 100,000 | ratio |")
    print("|-------------------|------------:|---------:|----------------:|-------------:|------:|")
    for call, of in costs.items():
        short = f"{of[f'median_{SHORT}']:11.2f} | {of[f'p95_{SHORT}']:8.2f}"
        long = f"{of[f'median_{LONG}']:15.2f} | {of[f'p95_{LONG}']:12.2f}"
        print(f"| {call:17} | {short} | {long} | {of['ratio']:5.2f} |")


if __name__ == "__main__":
    main()
