"""The event stream of all generations of a key."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from django.http import HttpRequest

from apikeys.models import ApiKey
from generations.api import presenters
from generations.api.presenters import Viewer
from generations.api.schemas import ChangedOut
from generations.models import Generation
from generations.progress import notifications
from generations.status import UNFINISHED, Status
from lockngen.web import event_streams
from lockngen.web.batches import Batches
from lockngen.web.event_streams import Source

MIN_INTERVAL = 1.0  # seconds between two reads of a stream, however many notifications there are
MAX_ROWS = 500  # of each kind in a page
FIRST_ID = UUID(int=0)
OVERLAP = timedelta(seconds=5)  # a row may be committed later than its times say

# The rows of every key that is read, and of the keys that it replaced: its unfinished ones, and those that ended after
# a position, deleted ones too, as their deletion ends them.
ROWS = """
    SELECT wanted.number, generation.*
    FROM json_to_recordset(%(wanted)s) AS wanted (number int, key_id uuid, after timestamptz, after_id uuid),
    LATERAL (
        WITH RECURSIVE lineage (id, rotated_from_id) AS (
            SELECT id, rotated_from_id FROM apikeys_apikey WHERE id = wanted.key_id
            UNION SELECT key.id, key.rotated_from_id FROM apikeys_apikey key
            JOIN lineage ON key.id = lineage.rotated_from_id
        ) SELECT array_agg(id) AS ids FROM lineage
    ) AS keys,
    LATERAL (
        (SELECT * FROM generations_generation
         WHERE api_key_id = ANY (keys.ids) AND status = ANY (%(unfinished)s) AND NOT is_deleted
         ORDER BY id DESC LIMIT %(max_rows)s)
        UNION ALL
        (SELECT * FROM generations_generation
         WHERE api_key_id = ANY (keys.ids) AND completed_at IS NOT NULL
             AND (completed_at, id) > (coalesce(after, statement_timestamp() - %(overlap)s), after_id)
         ORDER BY completed_at, id LIMIT %(max_rows)s)
    ) AS generation
"""


@dataclass(frozen=True)
class Wanted:
    """The key of a stream, and the position after which its ended generations are read."""

    key_id: UUID
    after: datetime | None
    after_id: UUID = FIRST_ID


@dataclass
class Page:
    """The rows of a stream. More have ended if it is full; the next page begins after its last row."""

    read_at: datetime
    unfinished: list[Generation] = field(default_factory=list)
    ended: list[Generation] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.ended) >= MAX_ROWS


UNAVAILABLE = Page(datetime.min)  # instead of the rows while there is no database


class KeyEvents:
    """The events of one client, and the states that were last sent to it."""

    def __init__(self, request: HttpRequest, since: datetime | None):
        self._request, self._key_id = request, request.auth.pk
        self._lineage = {request.auth.pk}
        if request.auth.rotated_from_id:
            self._lineage |= set(ApiKey.all_objects.filter(pk__in=request.auth.lineage).values_list("pk", flat=True))
        self._since, self._is_new, self._has_ended = since, since is None, False
        self._unfinished: list[Generation] = []
        self._states: dict[UUID, tuple[int, int]] = {}
        self._progress: dict[UUID, dict[str, Any]] = {}

    async def stream(self) -> Source:
        """Yield `generation` for the unfinished and for those that ended since, then at each change of a status.

        Yield `progress` while one is processing, and `changed` when any were deleted, restored or labelled.
        """
        notifications.listener.start()
        with notifications.hub.subscribe(None, self._lineage) as subscription:
            read_at = float("-inf")
            while True:
                if subscription.needs_refresh() or time.monotonic() - read_at >= event_streams.TICK:
                    read_at = time.monotonic()
                    async for event in self._changes():
                        yield event
                    if self._has_ended:
                        return
                for event in self._progresses():
                    yield event
                if (ids := subscription.take_changed()) is None or ids:
                    yield event_streams.event("changed", ChangedOut(ids=ids and sorted(ids)).model_dump_json())
                await subscription.wait(event_streams.TICK)
                yield None
                await asyncio.sleep(max(0.0, read_at + MIN_INTERVAL - time.monotonic()))

    async def _changes(self) -> AsyncIterator[bytes]:
        """Read all pages. A read that the database interrupts is repeated from its start, without what was sent."""
        began_at, states = None, {}
        wanted = Wanted(self._key_id, self._since and self._since - OVERLAP)
        while True:
            page = await _reader.add_or(wanted, UNAVAILABLE)
            if page is UNAVAILABLE:
                return
            if page is None:
                self._has_ended = True  # the key is no longer usable
                return
            began_at = began_at or page.read_at
            for row in page.ended if page.is_full else page.ended + page.unfinished:
                last, states[row.pk] = self._states.get(row.pk), (row.status, row.attempts)
                self._states[row.pk] = states[row.pk]
                # Without Last-Event-ID, generations that have ended before are not sent.
                if last != states[row.pk] and (row.is_unfinished or not self._is_new):
                    yield self._event(row, row.completed_at or began_at)
            if not page.is_full:
                break
            wanted = Wanted(self._key_id, page.ended[-1].completed_at, page.ended[-1].pk)
        self._since, self._is_new, self._unfinished, self._states = began_at, False, page.unfinished, states

    def _event(self, row: Generation, at: datetime) -> bytes:
        """An event whose id is a time, in milliseconds: what ended before has been sent. One that is sent again has the
        current state.
        """
        data = presenters.as_json(presenters.generation(row, Viewer.of(self._request))).decode()
        return event_streams.event("generation", data, id=str(int(at.timestamp() * 1000)))

    def _progresses(self) -> Iterator[bytes]:
        viewer = Viewer.of(self._request)
        running = [row for row in self._unfinished if row.status == Status.PROCESSING]
        progress = {row.pk: presenters.progress(row, viewer) for row in running}
        for id, state in progress.items():
            if self._progress.get(id) != state:
                shown = {"id": str(id), **state}
                yield event_streams.event("progress", presenters.as_json(shown).decode())
        self._progress = progress


def since(request: HttpRequest, otherwise: str = "") -> datetime | None:
    """The time in Last-Event-ID. Anything else is ignored, as a client can't choose what it repeats."""
    text = request.headers.get("Last-Event-ID", otherwise)
    if not (text.isascii() and text.isdigit() and len(text) <= 13):
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def read_all(wanted: list[Wanted]) -> list[Page | None]:
    """A page of each; None for a key that is no longer usable. The time of a page is before that of its rows."""
    usable = ApiKey.objects.usable().filter(pk__in={each.key_id for each in wanted})
    read_at = dict(usable.annotate(read_at=Now()).values_list("pk", "read_at"))
    pages = [Page(read_at[each.key_id]) if each.key_id in read_at else None for each in wanted]
    read = [{"number": n, **vars(each)} for n, each in enumerate(wanted) if pages[n]]
    parameters = {
        "wanted": json.dumps(read, default=str),
        "unfinished": [status.value for status in UNFINISHED],
        "max_rows": MAX_ROWS,
        "overlap": OVERLAP,
    }
    for row in Generation.all_objects.raw(ROWS, parameters):
        page = pages[row.number]
        (page.unfinished if row.is_unfinished else page.ended).append(row)
    for page in filter(None, pages):
        page.unfinished.sort(key=lambda row: row.pk)
        page.ended.sort(key=lambda row: (row.completed_at, row.pk))
    return pages


_reader = Batches(lambda wanted: read_all(wanted))  # looked up at each call, so that tests can replace it
