"""The event stream of all generations of a key."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection
from django.http import HttpRequest

from apikeys.models import ApiKey
from generations.api import presenters
from generations.api.presenters import Viewer
from generations.api.schemas import ProgressOut
from generations.models import Generation
from generations.progress import notifications
from generations.status import Status
from lockngen.web import event_streams
from lockngen.web.batches import Batches
from lockngen.web.event_streams import Source

MIN_INTERVAL = 1.0  # seconds between two reads of a stream, however many notifications there are
MAX_ROWS = 500  # of each kind in one read
OVERLAP = timedelta(seconds=5)  # a row may be committed later than its times say

Read = tuple[datetime, list[Generation]]  # when it was made, and the rows


class KeyEvents:
    """The events of one client, and the states that were last sent to it."""

    def __init__(self, request: HttpRequest, since: datetime | None):
        self._key, self._viewer = request.auth, Viewer.of(request)
        self._since, self._is_new = since, since is None
        self._rows: list[Generation] = []
        self._states: dict[UUID, tuple[int, int]] = {}
        self._progress: dict[UUID, ProgressOut] = {}

    async def stream(self) -> Source:
        """Yield `generation` for the unfinished and for those that ended since, then at each change of a status.

        Yield `progress` while one is processing.
        """
        notifications.listener.start()
        with notifications.hub.subscribe(None) as subscription:
            read_at = float("-inf")
            while True:
                if subscription.needs_refresh() or time.monotonic() - read_at >= event_streams.TICK:
                    read_at = time.monotonic()
                    if not await self._read():
                        return
                    for event in self._changes():
                        yield event
                for event in self._progresses():
                    yield event
                await subscription.wait(event_streams.TICK)
                yield None
                await asyncio.sleep(max(0.0, read_at + MIN_INTERVAL - time.monotonic()))

    async def _read(self) -> bool:
        """Whether the key is still usable. While the database is unavailable the rows stay as they are."""
        read = await _reader.add_or((self._key, self._since), (self._since, self._rows))
        if read:
            self._since, self._rows = read
        return read is not None

    def _changes(self) -> Iterator[bytes]:
        """An event's id is the time of its read, in milliseconds. An event that is sent again has the current state."""
        states = {row.pk: (row.status, row.attempts) for row in self._rows}
        if self._is_new:  # without Last-Event-ID, generations that have ended are not sent
            self._states |= {row.pk: states[row.pk] for row in self._rows if not row.is_unfinished}
            self._is_new = False
        for row in self._rows:
            if self._states.get(row.pk) != states[row.pk]:
                data = presenters.as_json(presenters.generation(row, self._viewer)).decode()
                yield event_streams.event("generation", data, id=str(int(self._since.timestamp() * 1000)))
        self._states = states

    def _progresses(self) -> Iterator[bytes]:
        progress = {row.pk: ProgressOut.of(row) for row in self._rows if row.status == Status.PROCESSING}
        for id, state in progress.items():
            if self._progress.get(id) != state:
                shown = {"id": str(id), **state.model_dump()}
                yield event_streams.event("progress", presenters.as_json(shown).decode())
        self._progress = progress


def since(request: HttpRequest) -> datetime | None:
    """The time in Last-Event-ID. Anything else is ignored, as a client can't choose what it repeats."""
    text = request.headers.get("Last-Event-ID", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 13):
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def read_all(wanted: list[tuple[ApiKey, datetime | None]]) -> list[Read | None]:
    """The rows of each key; None for a key that is no longer usable."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    usable = set(ApiKey.objects.usable().filter(pk__in={key.pk for key, _ in wanted}).values_list("pk", flat=True))
    return [(now, _rows(key, since or now)) if key.pk in usable else None for key, since in wanted]


def _rows(key: ApiKey, since: datetime) -> list[Generation]:
    """Oldest first: the unfinished, and those that ended since, deleted ones too, as their deletion ends them."""
    unfinished = Generation.objects.owned_by(key).unfinished().newest_first()[:MAX_ROWS]
    ended = Generation.all_objects.owned_by(key).filter(completed_at__gt=since - OVERLAP).newest_first()[:MAX_ROWS]
    return sorted({*unfinished, *ended}, key=lambda row: row.pk)


_reader = Batches(lambda wanted: read_all(wanted))  # looked up at each call, so that tests can replace it
