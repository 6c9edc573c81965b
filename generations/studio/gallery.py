"""The gallery: finished generations, newest first, in pages that load as the visitor scrolls."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_safe

from apikeys.models import ApiKey
from generations.api import cursors, limits
from generations.images import downloads
from generations.images.downloads import Size
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from generations.status import FINISHED, Status
from generations.studio import visitor
from lockngen.web.problems import Problem

PAGE = 40
MAX_SELECTED = 500
MAX_PAGE = 10 * PAGE  # with what was restored or has been added since
BIN = "bin"  # the filter of `status` for deleted generations
FILTERS = ("q", "status", "model", "label", "from", "to")
STATUSES = {status.label.lower(): status for status in FINISHED}


def filters(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of an address, without those that are empty or unknown."""
    given = {name: query.get(name, "").replace("\0", "").strip() for name in FILTERS}  # PostgreSQL stores no NUL
    return {name: text for name, text in given.items() if text}


def found(key: ApiKey, chosen: Mapping[str, str]) -> GenerationQuerySet:
    """The finished generations that pass the filters, newest first. A filter that can't be read is ignored."""
    if chosen.get("status") == BIN:
        rows = Generation.all_objects.owned_by(key).deleted()
    else:
        rows = Generation.objects.owned_by(key).finished()
    if status := STATUSES.get(chosen.get("status")):
        rows = rows.filter(status=status)
    elif "status" not in chosen:
        rows = rows.filter(status=Status.COMPLETED)
    if "model" in chosen:
        rows = rows.filter(model=chosen["model"])
    if "q" in chosen:
        rows = rows.search(chosen["q"])
    name, separator, value = chosen.get("label", "").partition("=")
    if separator:
        rows = rows.labelled({name.strip(): value.strip()})
    if start := _day(chosen.get("from")):
        rows = rows.created_since(start)
    if end := _day(chosen.get("to"), days_later=1):
        rows = rows.created_before(end)
    return rows.newest_first()


def context(request: HttpRequest) -> dict[str, Any]:
    """What the gallery's templates need: the filters, and their part of an address."""
    chosen = filters(request.GET)
    return {"chosen": chosen, "query": urlencode(chosen), "max_selected": MAX_SELECTED}


@require_safe
@visitor.signed_in
def page(request: HttpRequest) -> HttpResponse:
    """A page of images: after the cursor, and up to `until` if that is given, which is the last of a known page."""
    rows = found(request.auth, filters(request.GET))
    cursor, until = request.GET.get("cursor"), request.GET.get("until")
    try:
        rows = rows.older_than(cursors.decode(cursor)) if cursor else rows
        rows = rows.filter(pk__gte=cursors.decode(until)) if until else rows
    except ValueError:
        raise Problem(400, "The cursor is not that of a page.") from None
    size = MAX_PAGE if until else PAGE
    shown = list(rows[: size + 1])
    has_more, shown = len(shown) > size, shown[:size]
    parts = {
        "generations": shown,
        "cursor": cursor,
        "until": cursors.encode(shown[-1].pk) if shown else None,
        "next_cursor": cursors.encode(shown[-1].pk) if has_more and not until else None,
        "is_first": not cursor and not until,
        "visitor": request.visitor,
    }
    response = render(request, "studio/gallery_page.html", context(request) | parts)
    if has_more and until:
        response["HX-Trigger"] = "studio:outdated"
    return response


@require_safe
@visitor.with_key
def image(request: HttpRequest, id, size: Size) -> HttpResponse:
    """The image or its thumbnail, for the session, also in the bin. It never changes, so the browser keeps it."""
    generation = get_object_or_404(Generation.all_objects.owned_by(request.auth), pk=id)
    return downloads.response(request, generation, size, lambda: limits.download(request.auth))


def _day(text: str | None, days_later: int = 0) -> datetime | None:
    try:
        day = parse_date(text or "")
        return day and datetime.combine(day + timedelta(days=days_later), time(), UTC)
    except (ValueError, OverflowError):  # it is no date, or the last one
        return None
