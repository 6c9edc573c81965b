"""Where a generation's image and its thumbnail are stored."""

import logging
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from generations.images import formats
from generations.images.formats import Picture
from generations.models import Generation
from lockngen.database import retry

logger = logging.getLogger(__name__)

FOLDER = "generations"
COLUMNS = ("image_path", "thumbnail_path")  # which name the files
THUMBNAIL = "thumb.webp"
THUMBNAIL_TYPE = formats.CONTENT_TYPES["webp"]
MAX_LEFTOVER_ATTEMPTS = 10  # attempts; an upload after which so many began is left to the search for orphans


class StorageUnavailable(Exception):
    """The storage did not take a file, which says nothing about the picture."""


def store(generation: Generation, attempt: int, image: Picture) -> dict[str, Any]:
    """Save what an attempt has made and return it in the words of `Generation.complete`.

    No two attempts share a name, `generations/<yyyy>/<mm>/<id>-<attempt>.<png, jpg, webp or thumb.webp>`, so none can
    do anything to what another has stored. Raises StorageUnavailable.
    """
    return {
        "image_path": _save(_path(generation, attempt, image.suffix), image.content, image.content_type),
        "thumbnail_path": _save(_path(generation, attempt, THUMBNAIL), image.thumbnail, THUMBNAIL_TYPE),
        "image_width": image.width,
        "image_height": image.height,
        "image_bytes": len(image.content),
        "image_type": image.content_type,
        "image_sha256": image.sha256,
    }


def delete_leftovers(generation: Generation, before: int, since: int = 1) -> None:
    """Remove what attempts have left that ended otherwise: those from `since` on and `before` another.

    They must be over, so that none can be named by its generation any more; what it names already is left alone. It
    is tidiness and no more: where storage or database are away it raises nothing, and the search for orphans finds the
    rest.
    """
    attempts = range(max(since, before - MAX_LEFTOVER_ATTEMPTS), before)
    if not attempts:
        return
    left = {_path(generation, attempt, end) for attempt in attempts for end in (*formats.CONTENT_TYPES, THUMBNAIL)}
    try:
        for path in left - _named(generation):
            default_storage.delete(path)
    except Exception as error:
        logger.warning("Generation %s may have left files behind: %s", generation.id, retry.one_line(error))


def paths(generation: Generation) -> list[str]:
    """Every file of a generation: what goes when it goes, and what the search for orphans leaves alone."""
    return [path for column in COLUMNS if (path := getattr(generation, column))]


def size(path: str) -> int:
    """The bytes of a file, 0 where there is none."""
    try:
        return default_storage.size(path)
    except FileNotFoundError:
        return 0


def _path(generation: Generation, attempt: int, end: str) -> str:
    return f"{FOLDER}/{generation.created_at:%Y/%m}/{generation.id}-{attempt}.{end}"


def _save(path: str, content: bytes, content_type: str) -> str:
    file = ContentFile(content)
    file.content_type = content_type  # S3 keeps it with the file; a folder has no place for it
    try:
        return default_storage.save(path, file)
    except Exception as error:
        raise StorageUnavailable(retry.one_line(error)) from error


@retry.idempotent
def _named(generation: Generation) -> set[str]:
    row = Generation.all_objects.only(*COLUMNS).filter(pk=generation.pk).first()
    return set(paths(row)) if row else set()
