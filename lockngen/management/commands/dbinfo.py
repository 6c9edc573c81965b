import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from lockngen.database import timeouts
from lockngen.database.direct import is_pooled
from lockngen.tables import table

SAMPLES = 20
SETTINGS = [
    "max_connections", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "server_encoding",
    "TimeZone", "fsync", "synchronous_commit",
]  # fmt: skip


class Command(BaseCommand):
    help = "Show the database server, its settings, the connection pool and the time a connection takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines; times are milliseconds")

    def handle(self, **options) -> None:
        facts = gather()
        self.stdout.write(json.dumps(facts, indent=2) if options["json"] else as_text(facts))


def gather() -> dict[str, dict[str, Any]]:
    connection.ensure_connection()
    stats = connection.pool.get_stats()
    mismatch = timeouts.find_mismatch(connection)
    # The values in force, which may differ from the configured ones.
    shown = connection.query("SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", SETTINGS)
    return {
        "server": {
            "version": connection.connection.info.parameter_status("server_version"),
            "database": connection.settings_dict["NAME"],
            "through a pooler": is_pooled(connection),
        },
        "settings": dict(shown),
        **({"not in force": dict(zip(("what", "remedy"), mismatch, strict=True))} if mismatch else {}),
        "pool": {name: stats[name] for name in ("pool_min", "pool_max", "pool_size", "pool_available")},
        "cold connect (ms)": timed(lambda: psycopg.connect(**connection.get_connection_params()).close()),
        "checkout from the pool (ms)": timed(check_out),
    }


def check_out() -> None:
    connection.close()  # back to the pool
    connection.ensure_connection()


def timed(action: Callable[[], None]) -> dict[str, float]:
    """The median and the worst of SAMPLES runs, in milliseconds."""
    durations = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        action()
        durations.append((time.perf_counter() - started) * 1000)
    return {"median": round(median(durations), 2), "worst": round(max(durations), 2)}


def as_text(facts: dict[str, dict[str, Any]]) -> str:
    return "\n".join(
        table(
            row
            for title, values in facts.items()
            for row in [(title, ""), *((f"  {name}", str(value)) for name, value in values.items())]
        )
    )
