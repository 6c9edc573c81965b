"""Where a generation's image is stored, and how it is handed out."""

import logging

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

from generations.models import Generation
from generations.renderers import picture

logger = logging.getLogger(__name__)

FOLDER = "generations"

# An image never changes once it is there, and it belongs to one key alone.
CACHE_CONTROL = "private, max-age=31536000, immutable"


def store(generation: Generation, image: bytes) -> str:
    """Save the image and return its path, `generations/<yyyy>/<mm>/<id>.<png, jpg or webp>`."""
    path = f"{FOLDER}/{generation.created_at:%Y/%m}/{generation.id}.{picture.suffix(image)}"
    return default_storage.save(path, ContentFile(image))


def paths(generation: Generation) -> list[str]:
    """Every file of a generation: what goes when it goes, and what the search for orphans leaves alone."""
    return [generation.image_path] if generation.image_path else []


def size(path: str) -> int:
    """The bytes of a file, 0 where there is none."""
    try:
        return default_storage.size(path)
    except FileNotFoundError:
        return 0


def response(request: HttpRequest, generation: Generation) -> HttpResponse:
    """The image with its type, length and ETag, or 304. Raises Http404 where there is no image."""
    if generation.image_path is None:
        raise Http404(
            "The generation has no image yet." if generation.is_unfinished else "The generation has no image."
        )
    etag = f'"{generation.id}"'
    # An answer that matches the ETag needs no look at the file.
    answer = get_conditional_response(request, etag=etag) or _file(generation)
    answer["ETag"] = etag
    answer["Cache-Control"] = CACHE_CONTROL
    answer["Vary"] = "Authorization"
    return answer


def _file(generation: Generation) -> FileResponse:
    try:
        file = default_storage.open(generation.image_path)
    except FileNotFoundError:
        logger.exception("The image of generation %s is missing from the storage.", generation.id)
        raise Http404("The image is missing from the storage.") from None
    content_type = picture.CONTENT_TYPES[generation.image_path.rpartition(".")[2]]
    return FileResponse(file, content_type=content_type, headers={"Content-Disposition": "inline"})
