"""Stores the image of an attempt and completes its generation.

The files are stored first, without a transaction or a connection, however long the storage takes. Then one statement
completes the generation if the attempt is still current. A superseded attempt removes its own files, which no other
attempt shares.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import connection
from tenacity import retry_if_exception_type

from generations.images import files, formats, infotext
from generations.images.formats import Output, RenderedImage
from generations.models import Generation
from generations.renderers.base import RendererFailure, RenderError, RenderRequest, Unseeded
from generations.status import Status
from lockngen import retry_policies
from lockngen.database import retry


class Superseded(Exception):
    """The attempt is no longer current: a later one started, or the generation was cancelled or deleted."""


def store_and_complete(
    generation: Generation, request: RenderRequest, image: bytes, ensure_current: Callable[[], None]
) -> None:
    """Store an image as its generation requests it, and complete that with the model and the seed that were used.

    While the storage is unavailable, `ensure_current` is called before every retry. It raises to stop retrying.

    Raises RendererFailure if the bytes are no image, RenderError if the image is not accepted,
    files.StorageUnavailable if the storage is unavailable for longer than STORAGE_RETRY_TIMEOUT, and Superseded.
    """
    attempt = request.attempt
    try:
        used = replace(request, seed=None) if isinstance(image, Unseeded) else request
        rendered = _read(image, _output(generation, used))
        stored = _store(generation, attempt, rendered, ensure_current)
        if not _complete(generation, attempt, {**stored, "model": used.model, "seed": used.seed}):
            raise Superseded
    except Superseded:
        files.delete_leftovers(generation, before=attempt + 1, since=attempt)
        raise


def _output(generation: Generation, used: RenderRequest) -> Output:
    keep = settings.IMAGE_METADATA if generation.keep_metadata is None else generation.keep_metadata
    return Output(generation.output_format, generation.quality, keep, infotext.of(used))


def _read(image: bytes, output: Output) -> RenderedImage:
    try:
        return formats.read(image, output)
    except formats.NotAccepted as error:
        raise RenderError(str(error)) from None
    except ValueError as error:
        raise RendererFailure("The renderer returned an image that can't be read.", error) from error


def _store(
    generation: Generation, attempt: int, image: RenderedImage, ensure_current: Callable[[], None]
) -> dict[str, Any]:
    connection.close()
    retrying = retry_policies.STORAGE.retrying(
        retry_if_exception_type(files.StorageUnavailable), before_sleep=lambda state: ensure_current()
    )
    return retrying(files.store, generation, attempt, image)


# If it stays unknown whether this was committed, the files are kept; a next attempt removes them.
@retry.unit_of_work(
    find=lambda generation, attempt, stored: generation.is_at(attempt, Status.COMPLETED) or None, long_running=True
)
def _complete(generation: Generation, attempt: int, stored: dict[str, Any]) -> bool:
    try:
        return generation.complete(attempt, **stored)
    except Generation.DoesNotExist:  # hard-deleted, so the row can't be read again
        return False
