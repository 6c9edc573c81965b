"""One generation in the lightbox: its image and values, and what a visitor can do with it."""

import json

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from generations.api import limits
from generations.images import downloads, formats
from generations.images.formats import Output
from generations.models import Generation, OutputFormat
from generations.studio import explanations, visitor
from generations.studio.labels import as_text, from_text
from generations.submission import PARAMETERS

REUSED = tuple(name for name in PARAMETERS if name not in ("labels", "keep_metadata"))


@require_safe
@visitor.signed_in
def detail(request: HttpRequest, id) -> HttpResponse:
    """The content of the lightbox."""
    try:
        return _page(request, own(request, id))
    except Http404:
        if not request.htmx:
            raise
        # htmx shows the response only after a success, and a browser reports every other status in its console.
        return render(request, "studio/missing.html")


@require_POST
@visitor.signed_in
def label(request: HttpRequest, id) -> HttpResponse:
    """Replace the labels by those of the field, written as name=value, name=value."""
    generation = own(request, id)
    try:
        labels = from_text(request.POST.get("labels", ""))
    except ValueError as error:
        return _page(request, generation, errors={"edit-labels": str(error)})
    generation.set_labels(labels)
    return _page(request, generation, message=_("Saved."))


@require_safe
@visitor.with_key
def download(request: HttpRequest, id, format: str) -> HttpResponse:
    """The image in this format, as a file."""
    generation = own(request, id)
    if generation.image_path is None or format not in OutputFormat.values:
        raise Http404
    slot = limits.download(request.auth)
    try:
        content = downloads.content(generation)
        if generation.image_type != f"image/{format}":
            content = formats.read(content, Output(format)).content
    finally:
        slot.release()
    name = file_name(generation, format)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private"}
    return HttpResponse(content, content_type=f"image/{format}", headers=headers)


def own(request: HttpRequest, id) -> Generation:
    """The visitor's generation, also one in the bin."""
    return get_object_or_404(Generation.all_objects.owned_by(request.auth), pk=id)


def file_name(generation: Generation, format: str) -> str:
    """A name of the time and the prompt, which sorts by time and is unique."""
    words = slugify(generation.prompt)[:50].strip("-") or "image"
    suffix = "jpg" if format == "jpeg" else format
    return f"{generation.created_at:%Y%m%d-%H%M%S}-{words}-{generation.pk.hex[-6:]}.{suffix}"


def _page(request: HttpRequest, generation: Generation, **result) -> HttpResponse:
    """The content of the lightbox, with the errors or the message of a form."""
    values = {name: getattr(generation, name) for name in REUSED}
    context = {
        "visitor": request.visitor,
        "generation": generation,
        "values": json.dumps({name: value for name, value in values.items() if value not in (None, "")}),
        "labels": as_text(generation.labels),
        "formats": OutputFormat,
        "failure": explanations.of_failure(generation.error_message) if generation.error_message else None,
    }
    return render(request, "studio/detail.html", context | {"errors": {}} | result)
