"""The response for an image: its bytes, or a redirect to the storage."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.cache import get_conditional_response

from generations.images import files, formats
from generations.models import Generation
from generations.progress.previews import Preview
from lockngen.plain import one_line
from lockngen.web import problems
from lockngen.web.problems import Problem
from lockngen.web.slots import Slot, SlotHolder

logger = logging.getLogger(__name__)

Size = Literal["full", "thumb"]

# An image never changes once stored, and it belongs to one key.
CACHE_CONTROL = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Download:
    path: str
    content_type: str
    etag: str


class ImageResponse(SlotHolder, FileResponse):
    """The bytes of an image."""


def response(
    request: HttpRequest,
    generation: Generation,
    size: Size = "full",
    take_slot: Callable[[], Slot | None] = lambda: None,
) -> HttpResponse:
    """The image with its type, length and ETag, a 304, or a redirect. Raises Http404 if there is no image.

    A slot is taken only if this process itself sends the image.
    """
    download = _download(generation, size)
    answer = get_conditional_response(request, etag=download.etag)  # a 304 needs no file
    if answer is None and hasattr(default_storage, "signed_url"):
        return _redirect(request, download)
    answer = answer or _file(generation, download, take_slot)
    answer["ETag"] = download.etag
    answer["Cache-Control"] = CACHE_CONTROL
    answer["Vary"] = "Authorization"
    return answer


def preview(generation: Generation) -> HttpResponse:
    """The latest preview. Raises Http404 if there is none."""
    image = Preview.objects.of(generation)
    if image is None:
        raise Http404("The generation has no preview at the moment.")
    headers = {"Cache-Control": "no-store", "Content-Disposition": "inline"}
    return HttpResponse(image, content_type=formats.CONTENT_TYPES["webp"], headers=headers)


def format_of(generation: Generation) -> str:
    """The format of the image, such as jpeg."""
    content_type = generation.image_type or formats.CONTENT_TYPES[generation.image_path.rpartition(".")[2]]
    return content_type.removeprefix("image/")


def content(generation: Generation) -> bytes:
    """The bytes of an image that is sent in another form. Raises Problem if the storage doesn't return it."""
    try:
        with default_storage.open(generation.image_path) as file:
            return file.read()
    except FileNotFoundError:
        logger.exception("The image of generation %s is missing from the storage.", generation.pk)
        raise Problem(404, "The image is missing from the storage.") from None
    except Exception as error:  # a storage raises errors of its own kind
        logger.warning("The image of generation %s can't be read: %s", generation.pk, one_line(error))
        raise problems.busy("The image can't be read from the storage at the moment. Try again.") from None


def _download(generation: Generation, size: Size) -> Download:
    if generation.image_path is None:
        raise Http404(f"The generation has no image{' yet' if generation.is_unfinished else ''}.")
    if size == "thumb" and generation.thumbnail_path:
        return Download(generation.thumbnail_path, files.THUMBNAIL_TYPE, f'"{generation.image_sha256}-thumb"')
    # Generations completed before thumbnails existed have no thumbnail, digest or type.
    content_type = f"image/{format_of(generation)}"
    return Download(generation.image_path, content_type, f'"{generation.image_sha256 or generation.id}"')


def _file(generation: Generation, download: Download, take_slot: Callable[[], Slot | None]) -> ImageResponse:
    with take_slot() or nullcontext() as slot:
        try:
            file = default_storage.open(download.path)
        except FileNotFoundError:
            logger.exception("The image of generation %s is missing from the storage.", generation.id)
            raise Http404("The image is missing from the storage.") from None
    answer = ImageResponse(file, content_type=download.content_type, headers={"Content-Disposition": "inline"})
    answer.slot = slot
    return answer


def _redirect(request: HttpRequest, download: Download) -> HttpResponse:
    """Redirect to an address that is valid for this file and method for S3_URL_LIFETIME."""
    address = default_storage.signed_url(
        download.path,
        method=request.META["REQUEST_METHOD"],  # HttpRequest.method is GET for a HEAD request to the API
        content_type=download.content_type,
        cache_control=CACHE_CONTROL,
    )
    # It has no ETag, as a 304 would make the client follow an address that has expired. It is cached for half the
    # lifetime of the address, which is then valid for at least the other half when it is followed.
    cache_control = f"private, max-age={settings.S3_URL_LIFETIME // 2}"
    return HttpResponseRedirect(address, headers={"Cache-Control": cache_control, "Vary": "Authorization"})
