"""Brings what an attempt has rendered into the storage, and its generation to its end.

The files come first, without a transaction or a connection, for as long as the storage takes. Then one statement
decides whether the attempt still counts. One that doesn't removes its own files, which no other attempt shares.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection
from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from generations.images import files, formats
from generations.images.formats import Picture
from generations.models import Generation
from generations.renderers import RendererFailure, RenderError, RenderRequest
from generations.status import Status
from lockngen.database import retry

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two tries at the storage


class Superseded(Exception):
    """Nobody waits for this attempt any more: it was overtaken, cancelled or deleted."""


def store_and_complete(
    generation: Generation, request: RenderRequest, image: bytes, ensure_current: Callable[[], None]
) -> None:
    """Store an image and complete its generation, with the model and the seed of the request that made it.

    While the storage is away `ensure_current` is called before every further try, and raises where there is no point
    in one.

    Raises RendererFailure where it is no image, RenderError where it is not accepted, images.StorageUnavailable where
    the storage stays away for longer than STORAGE_RETRY_TIMEOUT, and Superseded.
    """
    attempt = request.attempt
    try:
        stored = _store(generation, attempt, _read(image), ensure_current)
        if not _complete(generation, attempt, {**stored, "model": request.model, "seed": request.seed}):
            raise Superseded
    except Superseded:
        files.delete_leftovers(generation, before=attempt + 1, since=attempt)
        raise


def _read(image: bytes) -> Picture:
    try:
        return formats.read(image)
    except formats.NotAccepted as error:
        raise RenderError(str(error)) from None
    except ValueError as error:
        raise RendererFailure("The renderer made a picture that can't be read.", error) from error


def _store(generation: Generation, attempt: int, image: Picture, ensure_current: Callable[[], None]) -> dict[str, Any]:
    connection.close()
    retrying = Retrying(
        retry=retry_if_exception_type(files.StorageUnavailable),
        stop=stop_before_delay(settings.STORAGE_RETRY_TIMEOUT),
        wait=wait_random_exponential(FIRST_PAUSE, max=LONGEST_PAUSE),
        before_sleep=lambda state: ensure_current(),
        reraise=True,
    )
    return retrying(files.store, generation, attempt, image)


def _was_completed(generation: Generation, attempt: int, stored: dict[str, Any]) -> bool | None:
    return generation.is_at(attempt, Status.COMPLETED) or None


# Where it stays unknown whether it was committed, the files stay: the next attempt, if there is one, removes them.
@retry.unit_of_work(find=_was_completed, long_running=True)
def _complete(generation: Generation, attempt: int, stored: dict[str, Any]) -> bool:
    try:
        return generation.complete(attempt, **stored)
    except Generation.DoesNotExist:  # gone for good, it can't be read back
        return False
