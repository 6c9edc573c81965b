"""The event stream of one generation."""

import json
import time

from django.http import HttpRequest
from ninja.responses import NinjaJSONEncoder

from apikeys.models import ApiKey
from generations.api.schemas import GenerationOut, ProgressOut
from generations.models import Generation
from generations.progress import notifications
from generations.progress.rows import reader
from lockngen.database import retry
from lockngen.web import event_streams

READ_INTERVAL = 5.0  # seconds at most between two reads of the row, as an event may be lost


async def of(generation: Generation, request: HttpRequest) -> event_streams.Source:
    """Yield `progress` now and at each change, then `end` with the generation."""
    with notifications.hub.subscribe(generation.pk) as subscription:
        last_sent, read_at = None, float("-inf")
        while True:
            if subscription.needs_refresh() or time.monotonic() - read_at > READ_INTERVAL:
                generation, read_at = await _read(generation, request.auth), time.monotonic()
            if generation is None:
                return
            state = ProgressOut.of(generation)
            if state != last_sent:
                last_sent = state
                yield event_streams.event("progress", state.model_dump_json())
            if not generation.is_unfinished:
                shown = GenerationOut.model_validate(generation, context={"request": request})
                yield event_streams.event("end", json.dumps(shown.model_dump(), cls=NinjaJSONEncoder))
                return
            await subscription.wait(event_streams.TICK)
            yield None


async def _read(generation: Generation, key: ApiKey) -> Generation | None:
    """The current row, or the previous one if the database is unavailable. None ends the stream."""
    try:
        return await reader.read(generation.pk, key.pk)
    except retry.ERRORS as error:
        if retry.outage(error) is None:
            raise
        return generation
