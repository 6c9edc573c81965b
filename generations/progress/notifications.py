"""What is said about generations while they are rendered, by NOTIFY, and what this process has heard of it.

Nothing of it is stored. The row is the truth and an event a hint: a change of state is said as no more than that there
was one, after it was committed, so whoever cares looks at the row. What is lost is made up by looking once in a while.
"""

import json
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Func, TextField, Value

from generations.progress.reports import Report
from generations.status import Status
from lockngen.database import retry
from lockngen.database.listener import Listener

logger = logging.getLogger(__name__)

CHANNEL = "lockngen_generation"
MOST_REPORTS = 10_000  # kept in memory, about 3 MB


def notify_expression(id: UUID, report: Report) -> Func:
    """An expression: whatever row is selected with it, the report is told."""
    payload = Value(json.dumps({"id": str(id), **asdict(report)}))
    return Func(Value(CHANNEL), payload, function="pg_notify", output_field=TextField())


def notify(id: UUID | None = None) -> None:
    """Say that the state of a generation has changed, or, without an id, that of any.

    After the commit and by itself: NOTIFY takes a lock that all others wait for, which is then held for no disk.
    """
    transaction.on_commit(lambda: _send({"id": str(id)} if id else {}))


def _send(payload: dict[str, str]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps(payload)])
    except retry.ERRORS as error:  # what it is about is committed, and must not look as if it failed
        logger.info("A change was not announced: %s", retry.one_line(error))
        connection.close()


class Subscription:
    """Who waits for news of one generation."""

    def __init__(self):
        self._has_changed = threading.Event()
        self._needs_refresh = False

    def wake(self, *, refresh: bool) -> None:
        self._needs_refresh = self._needs_refresh or refresh
        self._has_changed.set()

    def wait(self, seconds: float) -> bool:
        """Whether there was news within that time."""
        if not self._has_changed.wait(seconds):
            return False
        self._has_changed.clear()
        return True

    def needs_refresh(self) -> bool:
        """Whether the row may have changed since this was asked last."""
        needs_refresh, self._needs_refresh = self._needs_refresh, False
        return needs_refresh


class ProgressHub:
    """The last that was heard of each attempt, and who waits for more."""

    def __init__(self):
        self._lock = threading.Lock()
        self._reports: OrderedDict[UUID, Report] = OrderedDict()
        self._subscriptions: dict[UUID, set[Subscription]] = defaultdict(set)

    def receive(self, payload: str) -> None:
        """Take in what was said. What can't be understood is of another release, or nobody's."""
        try:
            id, report = _parse(json.loads(payload))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return
        with self._lock:
            self._store(id, report)
            for subscription in self._subscriptions.get(id, ()) if id else self._all():
                subscription.wake(refresh=report is None)

    def refresh_all(self) -> None:
        """Something may have been said that wasn't heard."""
        with self._lock:
            for subscription in self._all():
                subscription.wake(refresh=True)

    def last(self, id: UUID, attempt: int) -> Report | None:
        report = self._reports.get(id)
        return report if report and report.attempt == attempt else None

    @contextmanager
    def subscribe(self, id: UUID) -> Iterator[Subscription]:
        subscription = Subscription()
        with self._lock:
            self._subscriptions[id].add(subscription)
        try:
            yield subscription
        finally:
            self._unsubscribe(id, subscription)

    def _store(self, id: UUID | None, report: Report | None) -> None:
        if report is None:
            self._reports.pop(id, None)
            return
        self._reports[id] = report
        self._reports.move_to_end(id)
        if len(self._reports) > MOST_REPORTS:
            self._reports.popitem(last=False)

    def _all(self) -> list[Subscription]:
        return [subscription for subscriptions in self._subscriptions.values() for subscription in subscriptions]

    def _unsubscribe(self, id: UUID, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions[id].discard(subscription)
            if not self._subscriptions[id]:
                del self._subscriptions[id]


def _parse(payload: dict[str, Any]) -> tuple[UUID | None, Report | None]:
    payload = dict(**payload)  # or TypeError
    id = UUID(payload.pop("id")) if "id" in payload else None
    return id, Report(**payload) if payload else None


hub = ProgressHub()
listener = Listener(CHANNEL, hub.receive, hub.refresh_all)


def last_report(generation) -> Report | None:
    """What was heard of the attempt that is under way, if one is. The first question lets this process listen."""
    if generation.is_unfinished:
        listener.start()
    return hub.last(generation.id, generation.attempts) if generation.status == Status.PROCESSING else None


def percent(generation) -> int:
    """0 to 100: how far a generation is, as far as this process has heard."""
    if generation.status == Status.COMPLETED:
        return 100
    report = last_report(generation)
    return report.percent if report else 0
