"""The event stream of one generation."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from django.http import HttpRequest

from generations.api import presenters, waiting
from generations.api.presenters import Viewer
from generations.api.schemas import ProgressOut
from generations.models import Generation
from generations.progress import notifications
from lockngen.web import event_streams


async def of(generation: Generation, request: HttpRequest) -> event_streams.Source:
    """Yield `progress` now and at each change, then `end` with the generation."""
    last_sent = None
    async with aclosing(follow(generation, request.auth.pk)) as states:
        async for current in states:
            state = ProgressOut.of(current)
            if state != last_sent:
                last_sent = state
                yield event_streams.event("progress", state.model_dump_json())
            if current.is_unfinished:
                yield None
                continue
            shown = presenters.generation(current, Viewer.of(request))
            yield event_streams.event("end", presenters.as_json(shown).decode())


async def follow(generation: Generation, key_id: UUID) -> AsyncGenerator[Generation]:
    """Yield the generation now, whenever it may have changed, and at least every TICK seconds, until it has ended.

    Ends earlier if the key isn't usable any more.
    """
    with notifications.hub.subscribe(generation.pk) as subscription:
        read_at = float("-inf")
        while True:
            if subscription.needs_refresh() or time.monotonic() - read_at > waiting.READ_INTERVAL:
                generation, read_at = await waiting.read(generation, key_id), time.monotonic()
            if generation is None:
                return
            yield generation
            if not generation.is_unfinished:
                return
            await subscription.wait(event_streams.TICK)
