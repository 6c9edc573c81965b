"""The event stream of one generation."""

from contextlib import aclosing

from django.http import HttpRequest

from generations.api import presenters
from generations.api.presenters import Viewer
from generations.api.waiting import follow
from generations.models import Generation
from lockngen.web import event_streams


async def of(generation: Generation, request: HttpRequest) -> event_streams.Source:
    """Yield `progress` now and at each change, then `end` with the generation."""
    last_sent = None
    async with aclosing(follow(generation, request.auth.pk)) as states:
        async for current in states:
            viewer = Viewer.of(request)
            state = presenters.progress(current, viewer)
            if state != last_sent:
                last_sent = state
                yield event_streams.event("progress", presenters.as_json(state).decode())
            if current.is_unfinished:
                yield None
                continue
            shown = presenters.generation(current, viewer)
            yield event_streams.event("end", presenters.as_json(shown).decode())
