"""Publishes progress and changes of status by NOTIFY, and distributes received events to subscriptions.

Nothing is stored. The row is authoritative and an event is a hint: a change of status is published after its commit and
without the new status, so a subscriber reads the row. It also reads the row periodically, as events may be lost.
"""

import asyncio
import json
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Set
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
MAX_IDS = 100  # in a notification, whose payload has less than 8000 bytes


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


def notify_changed(changed: Iterable[tuple[UUID, UUID]]) -> None:
    """Publish the ids of generations, after those of their keys, that were deleted, restored or labelled."""
    ids_by_key = defaultdict(list)
    for key_id, id in changed:
        ids_by_key[str(key_id)].append(str(id))
    payloads = [{"key": key, "ids": ids if len(ids) <= MAX_IDS else None} for key, ids in ids_by_key.items()]
    if payloads:
        transaction.on_commit(lambda: _send(*payloads))


def _send(*payloads: dict[str, Any]) -> None:
    try:
        with connection.cursor() as cursor:
            texts = [json.dumps(payload) for payload in payloads]
            cursor.execute("SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload", [CHANNEL, texts])
    except retry.ERRORS as error:  # the change is committed and must not appear to have failed
        logger.info("A change of status was not published: %s", one_line(error))
        connection.close()


class Subscription:
    """Wakes a coroutine when its generation changes. Made in the event loop in which that waits."""

    def __init__(self, keys: Set[UUID] = frozenset()):
        self.keys = keys
        self._loop = asyncio.get_running_loop()
        self._has_changed = asyncio.Event()
        self._needs_refresh = False
        self._changed: set[UUID] | None = set()

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

    def add_changed(self, ids: Set[UUID] | None) -> None:
        """Generations of its keys were deleted, restored or labelled. None stands for unknown ones. In any thread."""
        known = self._changed
        together = None if known is None or ids is None else known | ids
        self._changed = None if together is None or len(together) > MAX_IDS else together

    def take_changed(self) -> set[UUID] | None:
        """Those that were added since the last call: None if they are unknown or too many."""
        changed, self._changed = self._changed, set()
        return changed


class ProgressHub:
    """The latest report of each generation, and the subscriptions to it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._reports: OrderedDict[UUID, Report] = OrderedDict()
        self._subscriptions: dict[UUID | None, set[Subscription]] = defaultdict(set)

    def receive(self, payload: str) -> None:
        """Process a payload. An invalid one, such as that of another release, is ignored."""
        try:
            message = json.loads(payload)
            if "key" in message:
                self._receive_changed(UUID(message["key"]), _ids(message["ids"]))
                return
            id, report = _parse(message)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        with self._lock:
            self._store(id, report)
            self._wake(id, refresh=report is None)

    def refresh_all(self) -> None:
        """Wake all subscriptions, because notifications may have been lost."""
        with self._lock:
            for subscription in self._subscriptions.get(None, ()):
                subscription.add_changed(None)
            self._wake(None, refresh=True)

    def last(self, id: UUID, attempt: int) -> Report | None:
        report = self._reports.get(id)
        return report if report and report.attempt == attempt else None

    @contextmanager
    def subscribe(self, id: UUID | None, keys: Set[UUID] = frozenset()) -> Iterator[Subscription]:
        """Subscribe to a generation, or without an id to all, and to changes of these keys that aren't of a status."""
        subscription = Subscription(keys)
        with self._lock:
            self._subscriptions[id].add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[id].discard(subscription)
                if not self._subscriptions[id]:
                    del self._subscriptions[id]

    def _receive_changed(self, key: UUID, ids: set[UUID] | None) -> None:
        with self._lock:
            for subscription in self._subscriptions.get(None, ()):
                if key in subscription.keys:
                    subscription.add_changed(ids)
                    subscription.wake(refresh=True)
            # A deletion ends an unfinished generation.
            waiting = self._subscriptions.keys() - {None} if ids is None else self._subscriptions.keys() & ids
            for id in waiting:
                for subscription in self._subscriptions[id]:
                    subscription.wake(refresh=True)

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


def _ids(texts: list[str] | None) -> set[UUID] | None:
    return None if texts is None else {UUID(text) for text in texts}


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
