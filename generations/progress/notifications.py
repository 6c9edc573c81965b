"""Publishes progress and changes of status by NOTIFY, and distributes received events to subscriptions.

Nothing is stored. The row is authoritative and an event is a hint: a change of status is published after its commit and
without the new status, so a subscriber reads the row. It also reads the row periodically, as events may be lost.
"""

import asyncio
import json
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Func, TextField, Value

from generations.progress.reports import Report
from generations.status import Status
from lockngen.database import retry
from lockngen.database.listener import Listener
from lockngen.plain import one_line
from lockngen.web.event_streams import process_ends

logger = logging.getLogger(__name__)

CHANNEL = "lockngen_generation"
MAX_REPORTS = 10_000  # kept in memory, about 3 MB


def notify_expression(id: UUID, report: Report) -> Func:
    """An expression that publishes the report when a row is selected with it."""
    payload = Value(json.dumps({"id": str(id), **asdict(report)}))
    return Func(Value(CHANNEL), payload, function="pg_notify", output_field=TextField())


def notify(id: UUID | None = None) -> None:
    """Publish that the status of a generation has changed, or, without an id, that any may have.

    Sent after the commit, in a transaction of its own: NOTIFY takes a global lock, which must not be held during a
    write to disk.
    """
    transaction.on_commit(lambda: _send({"id": str(id)} if id else {}))


def _send(payload: dict[str, str]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps(payload)])
    except retry.ERRORS as error:  # the change is committed and must not appear to have failed
        logger.info("A change of status was not published: %s", one_line(error))
        connection.close()


class Subscription:
    """Wakes a coroutine when its generation changes. Made in the event loop in which that waits."""

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._has_changed = asyncio.Event()
        self._needs_refresh = False

    def wake(self, *, refresh: bool) -> None:
        """May be called in any thread."""
        self._needs_refresh = self._needs_refresh or refresh
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._has_changed.set)

    async def wait(self, seconds: float) -> bool:
        """Wait for an event; return whether one was received in time."""
        try:
            await asyncio.wait_for(self._has_changed.wait(), seconds)
        except TimeoutError:
            return False
        self._has_changed.clear()
        return True

    def needs_refresh(self) -> bool:
        """Whether the row may have changed since the last call."""
        needs_refresh, self._needs_refresh = self._needs_refresh, False
        return needs_refresh


class ProgressHub:
    """The latest report of each generation, and the subscriptions to it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._reports: OrderedDict[UUID, Report] = OrderedDict()
        self._subscriptions: dict[UUID | None, set[Subscription]] = defaultdict(set)

    def receive(self, payload: str) -> None:
        """Process a payload. An invalid one, such as that of another release, is ignored."""
        try:
            id, report = _parse(json.loads(payload))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return
        with self._lock:
            self._store(id, report)
            self._wake(id, refresh=report is None)

    def refresh_all(self) -> None:
        """Wake all subscriptions, because notifications may have been lost."""
        with self._lock:
            self._wake(None, refresh=True)

    def last(self, id: UUID, attempt: int) -> Report | None:
        report = self._reports.get(id)
        return report if report and report.attempt == attempt else None

    @contextmanager
    def subscribe(self, id: UUID | None) -> Iterator[Subscription]:
        """Subscribe to a generation, or without an id to all."""
        subscription = Subscription()
        with self._lock:
            self._subscriptions[id].add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[id].discard(subscription)
                if not self._subscriptions[id]:
                    del self._subscriptions[id]

    def _store(self, id: UUID | None, report: Report | None) -> None:
        if report is None:
            self._reports.pop(id, None)
            return
        self._reports[id] = report
        self._reports.move_to_end(id)
        if len(self._reports) > MAX_REPORTS:
            self._reports.popitem(last=False)

    def _wake(self, id: UUID | None, *, refresh: bool) -> None:
        """Wake the subscriptions of a generation and those to all generations; without an id, every subscription."""
        woken = [self._subscriptions.get(each, ()) for each in (id, None)] if id else self._subscriptions.values()
        for subscription in chain.from_iterable(woken):
            subscription.wake(refresh=refresh)


def _parse(payload: dict[str, Any]) -> tuple[UUID | None, Report | None]:
    payload = dict(**payload)  # or TypeError
    id = UUID(payload.pop("id")) if "id" in payload else None
    return id, Report(**payload) if payload else None


hub = ProgressHub()
process_ends.connect(lambda **_: hub.refresh_all(), weak=False)
listener = Listener(CHANNEL, hub.receive, hub.refresh_all)


def last_report(generation) -> Report | None:
    """The latest report of the running attempt, if any. The first call starts this process's listener."""
    if generation.is_unfinished:
        listener.start()
    return hub.last(generation.pk, generation.attempts) if generation.status == Status.PROCESSING else None


def percent(generation) -> int:
    """A generation's progress, 0 to 100, from the reports that this process has received."""
    if generation.status == Status.COMPLETED:
        return 100
    report = last_report(generation)
    return report.percent if report else 0
