import json
import time
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from generations import monitoring
from generations.templatetags.figures import duration, size
from lockngen import exit_codes, tables
from lockngen.database import retry
from lockngen.plain import one_line

ENDS = ("completed", "failed", "cancelled")
CLEAR = "\x1b[H\x1b[2J"


class Command(BaseCommand):
    help = "Show renderers, workers, queue, throughput, database. The admin shows the same."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", type=interval, metavar="SECONDS", help="repeat at this interval, until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="print JSON; with --watch one line each time")

    def handle(self, watch: float | None, **options) -> None:
        try:
            self.show(watch, options["json"])
            while watch:
                time.sleep(watch)
                self.show(watch, options["json"])
        except KeyboardInterrupt:
            self.stderr.write("")  # the shell's prompt goes below ^C

    def show(self, watch: float | None, as_json: bool) -> None:
        try:
            facts = monitoring.gather()
        except retry.ERRORS as error:
            message = f"The database can't be queried: {one_line(error)}"
            if not watch:
                raise CommandError(message, returncode=exit_codes.DATABASE) from error
            self.stderr.write(message)  # and retry after the interval
        else:
            if as_json:
                text = json.dumps(facts, indent=None if watch else 2)
            else:
                text = (CLEAR if watch and self.stdout.isatty() else "") + as_text(facts) + "\n" * bool(watch)
            self.stdout.write(text)
            self.stdout.flush()
        finally:
            connection.close()


def as_text(facts: monitoring.Facts) -> str:
    return "\n".join(line for section in sections(facts) for line in section)


def sections(facts: monitoring.Facts) -> Iterator[list[str]]:
    queue, database, pool = facts["queue"], facts["database"], facts["pool"]
    yield [f"LockN Gen at {facts['at']}", ""]
    yield table(["renderer", "state", ""], renderer_rows(facts["renderers"]))
    if unavailable := facts["unavailable_models"]:
        yield [*(f"{each['model']}: {each['reason']}" for each in unavailable), ""]
    yield table(["worker", "state", "job", "for"], worker_rows(facts["workers"]))
    oldest = f", the oldest for {duration(queue['oldest_waiting_seconds'])}" if queue["waiting"] else ""
    yield [f"{queue['waiting']:,} waiting{oldest}; {queue['running']:,} running", ""]
    yield table(
        ["key", "waiting", "running", "share"],
        [(key["key"], key["waiting"], key["running"], f"{key['share_percent']:g}%") for key in queue["keys"]],
        queue["keys_left_off"],
    )
    yield table(
        ["model", "waiting", "running"],
        [(model["model"], model["waiting"], model["running"]) for model in queue["models"]],
        queue["models_left_off"],
    )
    ended = [(f"{each['minutes']} min", *(each[name] for name in ENDS)) for each in facts["throughput"]["lately"]]
    yield table(["ended in the last", *ENDS], ended)
    if took := facts["throughput"]["median_render_seconds"]:
        yield [f"A render takes {duration(took)} (median of 15 minutes).", ""]
    yield [webhooks(facts["webhooks"]), ""]
    # The server updates the estimate when it analyzes the table.
    sizes = [
        (each["table"], size(each["bytes"]), "–" if each["rows"] is None else f"{each['rows']:,}")
        for each in database["tables"]
    ]
    yield table(["table", "size", "rows (estimate)"], sizes)
    yield [
        f"Database: {size(database['bytes'])}, {database['connections']} of {database['max_connections']} connections. "
        f"Pool here: {pool['size']} of {pool['max']}, {pool['available']} free, {pool['requests_waiting']} wait."
    ]
    yield [retention(facts["retention"])]


def table(head: list[str], rows: Iterable[tuple], left_off: int = 0) -> list[str]:
    head, *lines = tables.table([head, *rows])
    more = [f"… and {left_off:,} more"] if left_off else []
    return [head, *(lines or ["none"]), *more, ""]


def renderer_rows(renderers: list[dict[str, Any]]) -> Iterator[tuple]:
    for renderer in renderers:
        more = ", ".join(f"{name}: {value}" for name, value in renderer.items() if name not in ("renderer", "state"))
        yield renderer["renderer"], renderer["state"], more


def worker_rows(workers: list[dict[str, Any]]) -> Iterator[tuple]:
    for worker in workers:
        for job in worker["jobs"] or [{"task": "none", "generation": None, "seconds": None}]:
            name = f"renders {job['generation']}" if job["generation"] else job["task"]
            yield worker["id"] or "–", worker_state(worker), name, duration(job["seconds"])


def worker_state(worker: dict[str, Any]) -> str:
    if worker["id"] is None:
        return "gone"
    return "alive" if worker["is_alive"] else f"silent for {duration(worker['silent_seconds'])}"


def webhooks(facts: dict[str, Any]) -> str:
    oldest = f", the oldest for {duration(facts['oldest_pending_seconds'])}" if facts["pending"] else ""
    pending, retried, failed = (f"{facts[name]:,}" for name in ("pending", "retried", "failed"))
    return f"Webhooks: {pending} to send, {retried} of them again{oldest}; {failed} failed."


def retention(facts: dict[str, Any]) -> str:
    days = {name: f"{facts[name]} days" if facts[name] else "forever" for name in facts if name.endswith("_days")}
    waiting = f" {facts['files_to_remove']:,} files are still to be removed." if facts["files_to_remove"] else ""
    kept = f"finished {days['finished_days']}, deleted {days['deleted_days']}, webhooks {days['webhooks_days']}"
    return f"Kept: {kept}.{waiting}"


def interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86_400:
        raise ArgumentTypeError(f"{text!r} is not an interval: use a number of seconds, at least 0.1")
    return seconds
