"""Actions on many generations at once. Ids that are not the visitor's, or that were purged, are ignored."""

from functools import partial
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from generations.api import limits
from generations.api.schemas import MAX_LABELS
from generations.images import downloads
from generations.images.archives import ArchiveResponse, Entry
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from generations.studio import visitor
from generations.studio.detail import file_name
from generations.studio.gallery import MAX_SELECTED
from generations.studio.labels import from_text
from lockngen.web.problems import Problem


@require_POST
@visitor.signed_in
def delete(request: HttpRequest) -> JsonResponse:
    """Move them to the bin."""
    count, _by_model = selected(request).delete()
    return _done(count, ngettext("%(count)d image moved to the bin.", "%(count)d images moved to the bin.", count))


@require_POST
@visitor.signed_in
def restore(request: HttpRequest) -> JsonResponse:
    count = selected(request).restore()
    return _done(count, ngettext("%(count)d image restored.", "%(count)d images restored.", count))


@require_POST
@visitor.signed_in
def label(request: HttpRequest) -> JsonResponse:
    """Add the labels of the field to each, as far as there is room."""
    try:
        labels = from_text(request.POST.get("labels", ""))
    except ValueError as error:
        return JsonResponse({"error": str(error)})
    if not labels:
        return JsonResponse({"error": _("Type a label as name=value.")})
    rows = selected(request).live()
    without_room = len(rows) - (count := rows.add_labels(labels, at_most=MAX_LABELS))
    if without_room:
        message = ngettext("%(count)d image has no room for it.", "%(count)d images have no room for it.", without_room)
        return JsonResponse({"error": message % {"count": without_room}, "count": count})
    return _done(count, ngettext("%(count)d image labelled.", "%(count)d images labelled.", count))


@require_POST
@partial(visitor.with_key, only_reads=True)
def download(request: HttpRequest) -> HttpResponseBase:
    """The images as one zip file."""
    rows = selected(request).filter(image_path__isnull=False).newest_first()
    entries = [Entry(row.image_path, file_name(row, downloads.format_of(row)), row.created_at) for row in rows]
    name = f"images-{timezone.now():%Y%m%d-%H%M%S}.zip"
    return ArchiveResponse(entries, name, limits.download(request.auth))


def selected(request: HttpRequest) -> GenerationQuerySet:
    """The visitor's generations whose ids are in the field, also those in the bin."""
    try:
        ids = {UUID(id) for id in request.POST.get("ids", "").split(",", MAX_SELECTED - 1)}
    except ValueError:
        raise Problem(400, f"`ids` takes 1 to {MAX_SELECTED} ids, separated by commas.") from None
    return Generation.all_objects.owned_by(request.auth).filter(pk__in=ids)


def _done(count: int, message: str) -> JsonResponse:
    return JsonResponse({"count": count, "message": message % {"count": count}})
