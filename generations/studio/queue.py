"""The queue: the visitor's unfinished generations, live, and recent failures with what to do about them."""

from datetime import timedelta

from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from apikeys.querysets import TransitionRefused
from generations.api import limits
from generations.api.key_events import KeyEvents, since
from generations.images import downloads
from generations.models import Generation
from generations.progress import notifications
from generations.querysets import QueueFull
from generations.scheduling import forecast
from generations.status import Status
from generations.studio import explanations, prompts, visitor
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem

MAX_SHOWN = 50
MAX_FAILURES = 5
FAILURES_FOR = timedelta(hours=24)
DISMISSED, MAX_DISMISSED = "studio_dismissed", 200  # ids of failures in the session


@require_safe
@visitor.signed_in
def queue(request: HttpRequest) -> HttpResponse:
    """The unfinished generations, those that are rendered first at the top, and the failures."""
    return _page(request)


@require_safe
@visitor.with_key
def events(request: HttpRequest) -> HttpResponse:
    """The events of `GET /api/v1/events` for the visitor's key, at first since the page was made (`since`)."""
    start = since(request, request.GET.get("since", ""))
    return EventStream(KeyEvents(request, start).stream(), limits.wait(request.auth))


@require_safe
@visitor.with_key
def preview(request: HttpRequest, id) -> HttpResponse:
    """The preview of a generation that is being rendered, for the session."""
    return downloads.preview(get_object_or_404(Generation.objects.owned_by(request.auth), pk=id))


@require_POST
@visitor.signed_in
def cancel(request: HttpRequest, id) -> HttpResponse:
    get_object_or_404(Generation.objects.owned_by(request.auth), pk=id).cancel()
    return _page(request)


@require_POST
@visitor.signed_in
def dismiss(request: HttpRequest, id) -> HttpResponse:
    """Hide a failure from the queue. It stays in the history."""
    _dismiss(request, id)
    return _page(request)


@require_POST
@visitor.signed_in
def again(request: HttpRequest, id) -> HttpResponse:
    """Submit a new generation with the parameters of one that failed."""
    generation = get_object_or_404(Generation.objects.owned_by(request.auth), pk=id)
    try:
        prompts.charge(request)
        generation.submit_again()
    except (Problem, QueueFull, TransitionRefused) as error:
        return _page(request, str(error))
    _dismiss(request, id)
    return _page(request)


def _page(request: HttpRequest, error: str = "") -> HttpResponse:
    own = Generation.objects.owned_by(request.auth)
    unfinished = list(own.unfinished().order_by("-status", "id")[:MAX_SHOWN])
    forecasts = forecast.of(unfinished)
    for generation in unfinished:
        generation.forecast = forecasts.get(generation.pk)
        generation.report = notifications.last_report(generation)
    failed = own.filter(status=Status.FAILED, completed_at__gt=Now() - FAILURES_FOR)
    failures = failed.exclude(pk__in=request.session.get(DISMISSED, [])).newest_first()[:MAX_FAILURES]
    context = {
        "visitor": request.visitor,
        "generations": unfinished,
        "count": own.unfinished().count(),
        "failures": [(each, *explanations.of_failure(each.error_message)) for each in failures],
        "error": error,
    }
    return render(request, "studio/queue.html", context)


def _dismiss(request: HttpRequest, id) -> None:
    request.session[DISMISSED] = [*request.session.get(DISMISSED, []), str(id)][-MAX_DISMISSED:]
