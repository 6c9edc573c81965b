"""The outcome of a generation for a call that has waited for it: its image, or an error."""

import time
from base64 import b64encode

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from generations.api.waiting import HeldResponse, Present
from generations.images import downloads
from generations.models import Generation
from lockngen.web import problems
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem
from lockngen.web.slots import Slot

TIMER_ERROR = 0.1  # seconds; an event loop's timers may fire early, as it reads the clock once an iteration
TYPE = "urn:lockngen:problem:"
NO_RETRY = {"X-Should-Retry": "false"}  # SDKs obey it. A retry of the same call finds the same generations.


def held(request: HttpRequest, generations: list[Generation], slot: Slot, present: Present) -> HttpResponse:
    """The response of a call that waits for its images, for at most DIALECT_MAX_WAIT."""
    response = HttpResponse()
    response.finish = HeldResponse(generations, request.auth.pk, settings.DIALECT_MAX_WAIT, slot, present)
    return response


def base64(generation: Generation) -> str:
    """The image of a completed generation. Raises Problem."""
    return b64encode(downloads.content(generation)).decode()


def failure(generation: Generation) -> Problem:
    """The error of a failed generation."""
    detail = f"The image could not be made: {generation.error_message}"
    return Problem(500, detail, type=f"{TYPE}generation-failed", headers=NO_RETRY)


def cancellation(generation: Generation) -> Problem:
    """The error of a generation that was cancelled or deleted."""
    what = "deleted" if generation.is_deleted else "cancelled"
    detail = f"The generation {generation.pk} was {what}."
    return Problem(409, detail, type=f"{TYPE}generation-{what}", headers=NO_RETRY)


def is_over(ends_at: float) -> bool:
    """Whether a wait until then is over."""
    return time.monotonic() > ends_at - TIMER_ERROR


def interruption(generation: Generation, ends_at: float) -> Problem:
    """Why `end_of` has returned an unfinished generation, if it was to wait until `ends_at`."""
    if EventStream.is_ending():
        return problems.busy("The service is restarting. Try again.")
    if not is_over(ends_at):
        return Problem(401, "")  # the key isn't usable any more
    return Problem(
        504,
        f"The image was not completed within {settings.DIALECT_MAX_WAIT} seconds. It will be in the key's history: "
        f"GET /api/v1/generations/{generation.pk}",
        type=f"{TYPE}wait-timeout",
        headers=NO_RETRY,  # once the first call is ten minutes old, a retry would be a call of its own
    )
