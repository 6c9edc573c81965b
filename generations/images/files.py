"""The files of a generation in the storage: its image and its thumbnail."""

import logging
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from generations.images import formats
from generations.images.formats import RenderedImage
from generations.models import Generation
from lockngen.database import retry
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

FOLDER = "generations"
COLUMNS = ("image_path", "thumbnail_path")  # the columns with the files' paths
THUMBNAIL = "thumb.webp"
THUMBNAIL_TYPE = formats.CONTENT_TYPES["webp"]
MAX_LEFTOVER_ATTEMPTS = 10  # files of earlier ones are left to the search for orphans


class StorageUnavailable(Exception):
    """The storage did not accept a file, for a reason unrelated to the image."""


def store(generation: Generation, attempt: int, image: RenderedImage) -> dict[str, Any]:
    """Save the image of an attempt and return the arguments for `Generation.complete`.

    Each attempt has names of its own, `generations/<yyyy>/<mm>/<id>-<attempt>.<png, jpg, webp or thumb.webp>`, so no
    attempt can affect the files of another. Raises StorageUnavailable.
    """
    return {
        "image_path": _save(_path(generation, attempt, image.suffix), image.content, image.content_type),
        "thumbnail_path": _save(_path(generation, attempt, THUMBNAIL), image.thumbnail, THUMBNAIL_TYPE),
        "image_width": image.width,
        "image_height": image.height,
        "image_bytes": len(image.content),
        "image_type": image.content_type,
        "image_sha256": image.sha256,
        "image_placeholder": image.placeholder,
    }


def delete_leftovers(generation: Generation, before: int, since: int = 1) -> None:
    """Remove the files that unsuccessful attempts have left: from attempt `since` up to, but not including, `before`.

    These attempts must have ended, so that none can complete the generation any more. Files that the generation refers
    to are kept. Raises nothing if storage or database are unavailable; the search for orphans finds the rest.
    """
    attempts = range(max(since, before - MAX_LEFTOVER_ATTEMPTS), before)
    if not attempts:
        return
    left = {_path(generation, attempt, end) for attempt in attempts for end in (*formats.CONTENT_TYPES, THUMBNAIL)}
    try:
        for path in left - _named(generation):
            default_storage.delete(path)
    except Exception as error:
        logger.warning("Generation %s may have left files behind: %s", generation.id, one_line(error))


def paths(generation: Generation) -> list[str]:
    """All files of a generation. They are removed with it, and are no orphans."""
    return [path for column in COLUMNS if (path := getattr(generation, column))]


def size(path: str) -> int:
    """The size of a file in bytes, 0 if it does not exist."""
    try:
        return default_storage.size(path)
    except FileNotFoundError:
        return 0


def _path(generation: Generation, attempt: int, end: str) -> str:
    return f"{FOLDER}/{generation.created_at:%Y/%m}/{generation.id}-{attempt}.{end}"


def _save(path: str, content: bytes, content_type: str) -> str:
    file = ContentFile(content)
    file.content_type = content_type  # S3 stores it with the file; a folder ignores it
    try:
        return default_storage.save(path, file)
    except Exception as error:
        raise StorageUnavailable(one_line(error)) from error


@retry.idempotent
def _named(generation: Generation) -> set[str]:
    row = Generation.all_objects.only(*COLUMNS).filter(pk=generation.pk).first()
    return set(paths(row)) if row else set()
