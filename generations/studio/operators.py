"""The operator's page: what renders, what waits, and what failed in the last hour, for all keys."""

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from generations import monitoring
from generations.studio import visitor

REFRESHED_EVERY = 5  # seconds
STATES = {"ok": _("ok"), "down": _("down"), "no answer": _("no answer")}  # of a renderer
BAR_WIDTH, CHART_HEIGHT = 10, 96  # of the drawing, which the page scales


@require_safe
@visitor.page
def operator(request: HttpRequest) -> HttpResponse:
    """The page, or its figures alone for htmx."""
    found = visitor.of(request)
    if found is None or not found.is_operator:
        if found or request.user.is_authenticated:
            raise PermissionDenied
        if request.htmx:
            return HttpResponse(status=401, headers={"HX-Redirect": reverse("studio:operator")})
        return redirect(f"{reverse('admin:login')}?next={reverse('studio:operator')}")
    facts = monitoring.gather() | monitoring.last_hour()
    context = {
        "visitor": found,
        "facts": facts,
        "at": parse_datetime(facts["at"]),
        "renderers": [_renderer(facts) for facts in facts["renderers"]],
        "failures": [{**failure, "latest": parse_datetime(failure["latest"])} for failure in facts["failures"]],
        "chart": _chart(facts["minutes"]),
        "refresh": REFRESHED_EVERY,
    }
    return render(request, "studio/figures.html" if request.htmx else "studio/operator.html", context)


def _renderer(facts: dict[str, Any]) -> dict[str, Any]:
    state = facts["state"]
    return {
        "name": facts["renderer"],
        "state": STATES.get(state, state),
        "is_up": state not in ("down", "no answer"),
        "more": {
            name: value for name, value in facts.items() if name not in ("renderer", "state") and value is not None
        },
    }


def _chart(minutes: list[dict[str, int]]) -> dict[str, Any]:
    """A bar for each minute: what was completed below, what failed above."""
    most = max(minute["completed"] + minute["failed"] for minute in minutes)
    return {
        "bars": list(_bars(minutes, most or 1)),
        "width": BAR_WIDTH * len(minutes),
        "height": CHART_HEIGHT,
        "most": most,
        "completed": sum(minute["completed"] for minute in minutes),
        "failed": sum(minute["failed"] for minute in minutes),
    }


def _bars(minutes: list[dict[str, int]], most: int) -> Iterator[dict[str, Any]]:
    for place, minute in enumerate(minutes):
        # One generation remains visible beside thousands.
        completed, failed = (
            max(2, round(minute[status] / most * CHART_HEIGHT)) if minute[status] else 0
            for status in ("completed", "failed")
        )
        yield {
            **minute,
            "x": place * BAR_WIDTH + 1,
            "completed_y": CHART_HEIGHT - completed,
            "completed_height": completed,
            "failed_y": CHART_HEIGHT - completed - failed,
            "failed_height": failed,
        }
