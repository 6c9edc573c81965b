"""Calls that wait for the end of a generation: `wait=N` in the query, or `Prefer: wait=N` (RFC 7240).

The plain call is made first. Its response is then held, by a coroutine, until the generation ends or the time is over.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from math import inf
from typing import Self
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from generations.api import limits
from generations.models import Generation
from generations.progress import notifications
from generations.progress.rows import reader
from lockngen.web import event_streams, threads
from lockngen.web.event_streams import EventStream
from lockngen.web.slots import Slot

READ_INTERVAL = 5.0  # seconds at most between two reads of the row, as an event may be lost
TIMER_ERROR = 0.1  # seconds; an event loop's timers may fire early, as it reads the clock once an iteration
PREFERENCE = re.compile(r"(?:^|[,;])\s*wait\s*(?:=\s*\"?(\d{1,9})\"?)?\s*(?=$|[,;])", re.IGNORECASE)

Present = Callable[[list[Generation]], HttpResponse]
"""Makes the response to a call from its generations. It may read their files, but makes no query."""


class Wait:
    """How long a call waits from now on, and its slot, which is held until the call has failed or was responded to."""

    def __init__(self, request: HttpRequest, query: int | None = None, longest: float = inf):
        preferred = _preferred(request.headers.get("Prefer", ""), min(longest, settings.WEB_MAX_WAIT))
        self._began_at = time.monotonic()
        self.seconds = query if query is not None else preferred
        self.is_preference = query is None and bool(preferred)
        self._key_id = request.auth.pk
        self._slot = limits.wait(request.auth) if self.seconds else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        if self._slot:
            self._slot.release()

    def respond(self, generations: list[Generation], present: Present) -> HttpResponse:
        """The presented generations, or a response that is held until all of them have ended."""
        response = present(generations)
        if self.is_preference:
            response["Preference-Applied"] = f"wait={self.seconds}"
        if self._slot and any(generation.is_unfinished for generation in generations):
            seconds = self.seconds - (time.monotonic() - self._began_at)  # clients close the connection soon afterwards
            response.finish = HeldResponse(generations, self._key_id, seconds, self._slot, present)
            self._slot = None
        return response


class HeldResponse:
    """Awaited by the event loop for the response."""

    def __init__(self, generations: list[Generation], key_id: UUID, seconds: float, slot: Slot, present: Present):
        self.generations, self.key_id, self.seconds = generations, key_id, seconds
        self.slot, self.present = slot, present

    async def __call__(self) -> HttpResponse:
        try:
            ends = [end_of(generation, self.key_id, self.seconds) for generation in self.generations]
            return await threads.read_file(self.present, await asyncio.gather(*ends))
        finally:
            self.slot.release()


async def end_of(generation: Generation, key_id: UUID, seconds: float) -> Generation:
    """The generation when it has ended; as it is when the time is over, its key is unusable or the process stops."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(follow(generation, key_id)) as states:
            async for current in states:
                generation = current
                if EventStream.is_ending():
                    break
    return generation


async def follow(generation: Generation, key_id: UUID) -> AsyncGenerator[Generation]:
    """Yield the generation now, whenever it may have changed, and at least every TICK seconds, until it has ended.

    Ends earlier if the key isn't usable any more.
    """
    notifications.listener.start()
    with notifications.hub.subscribe(generation.pk) as subscription:
        read_at = float("-inf")
        while True:
            if subscription.needs_refresh() or time.monotonic() - read_at > READ_INTERVAL - TIMER_ERROR:
                # The previous row if the database is unavailable.
                generation = await reader.add_or((generation.pk, key_id), generation)
                read_at = time.monotonic()
            if generation is None:
                return
            yield generation
            if not generation.is_unfinished:
                return
            await subscription.wait(min(event_streams.TICK, READ_INTERVAL))


def _preferred(header: str, longest: int) -> int | None:
    """The seconds that a Prefer header requests, at most `longest`, which is also the value without a number."""
    found = PREFERENCE.search(header)
    return found and min(int(found[1] or longest), longest)
