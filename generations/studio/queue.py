"""The queue: the visitor's unfinished generations, live, and recent failures with what to do about them."""

import re
from datetime import timedelta

from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from apikeys.querysets import TransitionRefused
from generations.api import limits
from generations.api.key_events import KeyEvents, since
from generations.models import Generation
from generations.progress import notifications
from generations.querysets import QueueFull
from generations.scheduling import forecast
from generations.status import Status
from generations.studio import prompts, visitor
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem

MAX_SHOWN = 50
MAX_FAILURES = 5
FAILURES_FOR = timedelta(hours=24)
DISMISSED, MAX_DISMISSED = "studio_dismissed", 200  # ids of failures in the session

# Starts of stored errors that are translated. Texts of renderers are shown as they are.
REASONS = (
    (r"There is no such model any more\.", _("There is no such model any more.")),
    (r"Rendering took longer than (\S+) seconds\.", _("Rendering took longer than %s seconds.")),
    (
        r"The image waited in the renderer's queue for longer than (\S+) seconds\.",
        _("The image waited in the renderer's queue for longer than %s seconds."),
    ),
    (r"The image is larger than (\S+) MiB\.", _("The image is larger than %s MiB.")),
    (r"Rendering failed after (\d+) attempts\.", _("Rendering failed after %s attempts.")),
)
# What a visitor can do about an error, by the start of its message.
REMEDIES = (
    (r"There is no such model|The model .* can't be rendered", _("Choose another model, or ask an operator.")),
    (r"Rendering took|The image waited", _("Try fewer steps or a smaller size.")),
    (r"The image is larger", _("Choose a smaller size.")),
    (r"The renderer refused|The workflow", _("Change the prompt or its values. An operator can check the workflow.")),
    (r"Rendering failed after", _("The renderer has a problem. Try again later, or ask an operator.")),
)
OTHERWISE = _("Try again.")


@require_safe
@visitor.signed_in
def queue(request: HttpRequest) -> HttpResponse:
    """The unfinished generations, those that are rendered first at the top, and the failures."""
    return _page(request)


@require_safe
@visitor.with_key
def events(request: HttpRequest) -> HttpResponse:
    """The events of `GET /api/v1/events` for the visitor's key."""
    return EventStream(KeyEvents(request, since(request)).stream(), limits.wait(request.auth))


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


def reason(message: str) -> str:
    for start, text in REASONS:
        if found := re.match(start, message):
            return text % found.groups() + message[found.end() :]
    return message


def remedy(message: str) -> str:
    return next((text for start, text in REMEDIES if re.match(start, message)), OTHERWISE)


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
        "failures": [(each, reason(each.error_message), remedy(each.error_message)) for each in failures],
        "error": error,
    }
    return render(request, "studio/queue.html", context)


def _dismiss(request: HttpRequest, id) -> None:
    request.session[DISMISSED] = [*request.session.get(DISMISSED, []), str(id)][-MAX_DISMISSED:]
