"""The event stream of one generation."""

import time

from django.http import HttpRequest

from generations.api import presenters, waiting
from generations.api.presenters import Viewer
from generations.api.schemas import ProgressOut
from generations.models import Generation
from generations.progress import notifications
from lockngen.web import event_streams


async def of(generation: Generation, request: HttpRequest) -> event_streams.Source:
    """Yield `progress` now and at each change, then `end` with the generation."""
    with notifications.hub.subscribe(generation.pk) as subscription:
        last_sent, read_at = None, float("-inf")
        while True:
            if subscription.needs_refresh() or time.monotonic() - read_at > waiting.READ_INTERVAL:
                generation, read_at = await waiting.read(generation, request.auth.pk), time.monotonic()
            if generation is None:
                return
            state = ProgressOut.of(generation)
            if state != last_sent:
                last_sent = state
                yield event_streams.event("progress", state.model_dump_json())
            if not generation.is_unfinished:
                shown = presenters.generation(generation, Viewer.of(request))
                yield event_streams.event("end", presenters.as_json(shown).decode())
                return
            await subscription.wait(event_streams.TICK)
            yield None
