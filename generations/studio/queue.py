"""The queue: the visitor's unfinished generations, live."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from generations.api import limits
from generations.api.key_events import KeyEvents, since
from generations.models import Generation
from generations.progress import notifications
from generations.studio import visitor
from lockngen.web.event_streams import EventStream

MAX_SHOWN = 50


@require_safe
@visitor.signed_in
def queue(request: HttpRequest) -> HttpResponse:
    """The unfinished generations, those that are rendered first at the top."""
    own = Generation.objects.owned_by(request.auth).unfinished()
    shown = list(own.order_by("-status", "id")[:MAX_SHOWN])
    for generation in shown:
        generation.percent = notifications.percent(generation)
    return render(request, "studio/queue.html", {"generations": shown, "count": own.count()})


@require_safe
@visitor.signed_in
def events(request: HttpRequest) -> HttpResponse:
    """The events of `GET /api/v1/events` for the visitor's key."""
    return EventStream(KeyEvents(request, since(request)).stream(), limits.wait(request.auth))


@require_POST
@visitor.signed_in
def cancel(request: HttpRequest, id) -> HttpResponse:
    get_object_or_404(Generation.objects.owned_by(request.auth), pk=id).cancel()
    return queue(request)
