"""The operations of Replicate's HTTP API that its client libraries use for predictions and models."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from apikeys import free_calls
from apikeys.authentication import TokenHeader
from generations import renderers
from generations.api import creation, limits, presenters
from generations.api.presenters import Viewer
from generations.api.schemas import WebhookEvent, WebhookUrl
from generations.api.signed_urls import SignedUrl
from generations.api.waiting import Wait
from generations.dialects.replicate import predictions, versions
from generations.dialects.replicate.inputs import Input
from generations.dialects.replicate.pages import Page, PageQuery
from generations.models import Generation
from generations.renderers.base import Model
from generations.webhooks.models import Event
from generations.webhooks.signature import WebhookSecret
from lockngen.database import retry
from lockngen.web import links
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import CONTENT_TYPE, Problem, invalid

LONGEST_WAIT = 60  # seconds; clients close the connection half a second later
LAST_EVENT_ID = re.compile(r"\d{1,4}", re.ASCII)
PATHS = (
    r"/(v1/){0,2}(predictions|files|account|webhooks|collections|deployments|hardware|trainings)(/|$)"
    r"|/(v1/){0,2}models/[^/]+/[^/]|/models(/|$)|/replicate(/|$)|/v1/v1(/|$)"
)

router = Router(auth=TokenHeader())


class PredictionIn(Schema):
    input: Input
    version: str | None = None
    webhook: WebhookUrl | None = None
    webhook_completed: WebhookUrl | None = None  # of older clients
    webhook_events_filter: list[WebhookEvent] | None = None

    def to_webhook(self) -> creation.Webhook | None:
        """Where and what to send. By default these are the outputs and the end."""
        if url := self.webhook or self.webhook_completed:
            by_default = [Event.OUTPUT.value, Event.COMPLETED.value] if self.webhook else [Event.COMPLETED.value]
            return creation.Webhook(url, self.webhook_events_filter or by_default, predictions.INTERFACE)
        if self.webhook_events_filter:
            raise invalid("webhook_events_filter", "it needs a webhook")
        return None


@router.post("predictions")
def create(request: HttpRequest, body: PredictionIn):
    return _create(request, body, lambda: _model_of_version(body.version))


@router.post("models/{owner}/{name}/predictions")
def create_of_model(request: HttpRequest, owner: str, name: str, body: PredictionIn):
    return _create(request, body, lambda: _model(f"{owner}/{name}"))


@router.get("predictions")
@retry.idempotent
def list_(request: HttpRequest, query: Query[PageQuery]):
    page = Page.of(Generation.objects.owned_by(request.auth).first_of_calls(), query)
    viewer = Viewer.of(request)
    calls = predictions.of_calls(page.rows)
    shown = [predictions.as_prediction(call, viewer, is_inline=False) for call in calls]
    return presenters.response({**page.addresses(request), "results": shown})


@router.get("predictions/{id}", auth=TokenHeader(is_free=True))
@retry.idempotent
def show(request: HttpRequest, id: str):
    """The rate limit doesn't count this call: clients poll twice a second, and fail when they are limited."""
    free_calls.count(request.auth)
    return presenters.response(predictions.as_prediction(_own(request, id), Viewer.of(request)))


@router.post("predictions/{id}/cancel")
@retry.idempotent
def cancel(request: HttpRequest, id: str):
    """Cancel what is unfinished. A finished prediction stays as it is."""
    generations = _own(request, id)
    for generation in generations:
        generation.cancel()
    return presenters.response(predictions.as_prediction(generations, Viewer.of(request)))


@router.get("files/{id}/events", auth=[SignedUrl(lambda request: "prediction"), TokenHeader(is_free=True)])
def events(request: HttpRequest, id: str):
    generations = retry.idempotent(_own)(request, id)
    last = request.headers.get("Last-Event-ID", "")
    sent = int(last) if LAST_EVENT_ID.fullmatch(last) else 0
    return EventStream(predictions.events(generations, Viewer.of(request), sent), limits.wait(request.auth))


@router.get("models")
def list_models(request: HttpRequest):
    models, base_url = renderers.current_pool().available().values(), links.base(request)
    return {"previous": None, "next": None, "results": [versions.as_model(model, base_url) for model in models]}


@router.get("models/{owner}/{name}")
def show_model(request: HttpRequest, owner: str, name: str):
    return versions.as_model(_model(f"{owner}/{name}"), links.base(request))


@router.get("models/{owner}/{name}/versions")
def list_versions(request: HttpRequest, owner: str, name: str):
    return {"previous": None, "next": None, "results": [versions.as_version(_model(f"{owner}/{name}"))]}


@router.get("models/{owner}/{name}/versions/{version}")
def show_version(request: HttpRequest, owner: str, name: str, version: str):
    return versions.as_version(_model(f"{owner}/{name}:{version}"))


@router.get("account")
def account(request: HttpRequest):
    """The key."""
    return {"type": "user", "username": request.auth.prefix, "name": request.auth.name, "github_url": None}


@router.get("webhooks/default/secret")
@retry.idempotent
def webhook_secret(request: HttpRequest, response: HttpResponse):
    response["Cache-Control"] = "no-store"
    return {"key": WebhookSecret.objects.of(request.auth).secret}


def as_error(answer: HttpResponse, problem: dict[str, Any]) -> HttpResponse:
    shown = {name: problem[name] for name in ("title", "detail", "status")}
    if problem["type"] != "about:blank":
        shown["type"] = problem["type"]
    if problem["status"] == HTTPStatus.UNAUTHORIZED:
        shown["title"] = "Unauthenticated"
    if errors := problem.get("errors"):
        shown["invalid_fields"] = [{"field": error["field"], "description": error["detail"]} for error in errors]
    return HttpResponse(presenters.as_json(shown), status=answer.status_code, content_type=CONTENT_TYPE)


def _create(request: HttpRequest, body: PredictionIn, find_model: Callable[[], Model]) -> HttpResponse:
    if "Cancel-After" in request.headers:
        raise invalid("Cancel-After", "a prediction has no deadline; cancel it instead")
    with _wait(request) as wait:
        viewer = Viewer.of(request)
        created = creation.create(request, lambda: body.input.parameters(find_model()), webhook=body.to_webhook())

        def present(generations: list[Generation]) -> HttpResponse:
            shown = predictions.as_prediction(generations, viewer)
            if shown["completed_at"] is None:
                shown["status"] = "starting"  # after a create call, clients treat every other status as the end
            return presenters.response(shown, 201, created.headers)

        return wait.respond(created.generations, present)


def _wait(request: HttpRequest) -> Wait:
    """The wait that the client prefers. If the key or the process has too many, there is none, and the client polls."""
    try:
        return Wait(request, longest=LONGEST_WAIT)
    except Problem:
        return Wait(request, longest=0)


def _model(reference: str) -> Model:
    if model := versions.find(reference):
        return model
    raise Problem(404, f"There is no model or version {reference}; valid models: {versions.valid()}.")


def _model_of_version(reference: str | None) -> Model:
    if reference is None:
        raise invalid("version", f"it is required: a version or one of the models {versions.valid()}")
    if model := versions.find(reference):
        return model
    raise invalid("version", f"there is no model or version {reference}; valid models: {versions.valid()}")


def _own(request: HttpRequest, id: str) -> list[Generation]:
    try:
        first = Generation.objects.owned_by(request.auth).first_of_calls().get(pk=UUID(id))
    except (ValueError, Generation.DoesNotExist):
        raise Problem(404, "There is no such prediction.") from None
    return predictions.of_calls([first])[0]
