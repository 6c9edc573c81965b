"""Calls that wait for their images, and the errors of those that get none."""

import time
from abc import ABC, abstractmethod
from base64 import b64encode
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from generations.api import presenters
from generations.api.creation import Created
from generations.api.waiting import TIMER_ERROR, HeldResponse
from generations.images import downloads
from generations.models import Generation
from generations.progress.previews import Preview
from generations.status import Status
from lockngen.web import problems
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem
from lockngen.web.slots import Slot

TYPE = "urn:lockngen:problem:"
NO_RETRY = {"X-Should-Retry": "false"}  # SDKs obey it. A retry of the same call finds the same generations.


class WaitingCall(ABC):
    """A call that waits for its images, for at most DIALECT_MAX_WAIT."""

    def __init__(self, created: Created):
        self._generations, self._headers = created.generations, created.headers
        self._ends_at = time.monotonic() + settings.DIALECT_MAX_WAIT

    def held(self, request: HttpRequest, slot: Slot) -> HttpResponse:
        """The response, for which the event loop waits."""
        response, wait = HttpResponse(), settings.DIALECT_MAX_WAIT
        response.finish = HeldResponse(self._generations, request.auth.pk, wait, slot, self._present)
        return response

    @abstractmethod
    def content(self, generations: list[Generation]) -> dict[str, Any]:
        """The body of the response, in the dialect's form. Raises Problem."""

    def is_completed(self, generation: Generation) -> bool:
        """False if it was cancelled or deleted. Raises Problem if it failed or hasn't ended in time."""
        if generation.is_unfinished:
            raise self._interruption(generation)
        if generation.status == Status.FAILED:
            detail = f"The image could not be made: {generation.error_message}"
            raise Problem(500, detail, type=f"{TYPE}generation-failed", headers=NO_RETRY)
        return generation.status == Status.COMPLETED and not generation.is_deleted

    @property
    def is_over(self) -> bool:
        """Whether it has waited for DIALECT_MAX_WAIT."""
        return time.monotonic() > self._ends_at - TIMER_ERROR

    def _interruption(self, generation: Generation) -> Problem:
        """Why the wait has ended before the generation."""
        if EventStream.is_ending():
            return problems.busy("The service is restarting. Try again.")
        if not self.is_over:
            return Problem(401, "")  # the key isn't usable any more
        return Problem(
            504,
            f"The image was not completed within {settings.DIALECT_MAX_WAIT} seconds. It will be in the key's history: "
            f"GET /api/v1/generations/{generation.pk}",
            type=f"{TYPE}wait-timeout",
            headers=NO_RETRY,  # once the first call is ten minutes old, a retry would be a call of its own
        )

    def _present(self, generations: list[Generation]) -> HttpResponse:
        try:
            return presenters.response(self.content(generations), headers=self._headers)
        except Problem as problem:
            return problems.of(problem)


def base64(generation: Generation) -> str:
    """The image of a completed generation. Raises Problem."""
    return b64encode(downloads.content(generation)).decode()


def preview(generation: Generation) -> str | None:
    """The latest preview in base64, if there is one."""
    image = Preview.objects.of(generation)
    return image and b64encode(image).decode()
