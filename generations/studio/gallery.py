"""The gallery: finished generations, newest first, in pages that load as the visitor scrolls."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from generations.api import cursors
from generations.images import downloads
from generations.images.downloads import Size
from generations.models import Generation
from generations.studio import visitor

PAGE = 40


@require_safe
@visitor.signed_in
def page(request: HttpRequest) -> HttpResponse:
    rows = Generation.objects.owned_by(request.auth).finished().newest_first()
    if cursor := request.GET.get("cursor"):
        rows = rows.older_than(cursors.decode(cursor))
    shown = list(rows[: PAGE + 1])
    next_cursor = cursors.encode(shown[PAGE - 1].pk) if len(shown) > PAGE else None
    return render(request, "studio/gallery_page.html", {"generations": shown[:PAGE], "next_cursor": next_cursor})


@require_safe
@visitor.with_key
def image(request: HttpRequest, id, size: Size) -> HttpResponse:
    """The image or its thumbnail, for the session. It never changes, so the browser keeps it."""
    generation = get_object_or_404(Generation.objects.owned_by(request.auth), pk=id)
    return downloads.response(request, generation, size)
