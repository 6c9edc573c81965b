"""The native REST API of generations."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Query, Router
from ninja import Status as Reply

from apikeys.authentication import BearerToken
from generations.api import creation, event_stream, limits, presenters
from generations.api.key_events import KeyEvents, since
from generations.api.presenters import Viewer
from generations.api.queries import ImageQuery, ListQuery, PreviewQuery, SignedQuery, WaitQuery, parsed_id
from generations.api.schemas import (
    ChangedOut,
    GenerationChange,
    GenerationIn,
    GenerationList,
    GenerationOut,
    GenerationPage,
    ProgressOut,
)
from generations.api.signed_urls import SignedUrl
from generations.api.waiting import Wait
from generations.images import downloads
from generations.images.formats import CONTENT_TYPES
from generations.models import Generation
from generations.status import Status
from generations.webhooks.models import Event
from generations.webhooks.payloads import NATIVE
from lockngen.database import retry
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem, problems

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "1 to 255 visible ASCII characters, chosen by the client. A repeated call with the same key and "
    "body stores nothing and returns the generations of the first.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}

GENERATION = {"$ref": "#/components/schemas/GenerationOut"}


def _event_stream(description: str, **events: dict[str, Any]) -> dict[str, Any]:
    """The documentation of an event stream, with the schema of each event's data."""
    content = {"schema": {"type": "string"}, "x-event-schemas": events}
    return {"responses": {200: {"description": description, "content": {"text/event-stream": content}}}}


router = Router(auth=BearerToken(), tags=["generations"])
events_router = Router(auth=BearerToken(is_free=True), tags=["generations"])


@router.post(
    "",
    operation_id="createGeneration",
    summary="Create a generation",
    response={201: GenerationOut | GenerationList, **problems(413, 415, 422)},
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
)
def create(request: HttpRequest, query: Query[WaitQuery], body: GenerationIn):
    """Store a generation and enqueue it. It is stored durably before the response is sent. With `n` there are as many,
    and the response is a list. A repeated call with the same `Idempotency-Key` and body returns the same generations.
    """
    with Wait(request, query.wait) as wait:
        events = body.webhook_events_filter or [Event.COMPLETED.value]
        webhook = creation.Webhook(body.webhook, events, NATIVE) if body.webhook else None
        created = creation.create(request, body.parameters, webhook=webhook)

        def present(generations: list[Generation]) -> HttpResponse:
            viewer = Viewer.of(request)
            shown = [presenters.generation(generation, viewer) for generation in generations]
            if body.n:
                return presenters.response({"items": shown}, 201, created.headers)
            location = {"Location": presenters.address(viewer, generations[0].id)}
            return presenters.response(shown[0], 201, location | created.headers)

        return wait.respond(created.generations, present)


@router.get(
    "", operation_id="listGenerations", summary="List generations", response={200: GenerationPage, **problems(422)}
)
@retry.idempotent
def list_(request: HttpRequest, query: Query[ListQuery]):
    """Your generations, newest first."""
    generations = Generation.objects.owned_by(request.auth).newest_first()
    if query.status:
        generations = generations.filter(status=Status[query.status.upper()])
    if query.model:
        generations = generations.filter(model=query.model)
    if query.q:
        generations = generations.search(query.q)
    if query.label:
        generations = generations.labelled(dict(label.split(":", 1) for label in query.label))
    if query.created_after:
        generations = generations.created_since(query.created_after)
    if query.created_before:
        generations = generations.created_before(query.created_before)
    if query.cursor:
        generations = generations.older_than(query.cursor)
    rows = list(generations[: query.limit + 1])
    return presenters.response(presenters.page(rows, query.limit, Viewer.of(request)))


@events_router.get(
    "",
    operation_id="streamEvents",
    summary="Follow all generations",
    openapi_extra=_event_stream(
        "Events `generation` with a GenerationOut, `progress` with an id and a ProgressOut, and `changed` with ids",
        generation=GENERATION,
        progress=ProgressOut.model_json_schema(),
        changed=ChangedOut.model_json_schema(),
    ),
    response=problems(),
)
def key_events(request: HttpRequest):
    """Server-sent events of all generations of the key: the unfinished ones now, then each change. Isn't counted.
    `changed` names those that were deleted, restored or labelled.
    A client that reconnects with `Last-Event-ID` also gets those that ended meanwhile.
    """
    events = KeyEvents(request, since(request))
    return EventStream(events.stream(), limits.wait(request.auth))


@router.get(
    "/{id}", operation_id="getGeneration", summary="Show a generation", response={200: GenerationOut, **problems(404)}
)
@retry.idempotent
def show(request: HttpRequest, id: str, query: Query[WaitQuery]):
    """With `wait` the response is sent when the generation has ended, or after that time."""
    generation = _own(request, id)
    with Wait(request, query.wait) as wait:
        return wait.respond([generation], lambda generations: _shown(generations[0], request))


@router.get(
    "/{id}/image",
    operation_id="getGenerationImage",
    summary="Fetch the image",
    auth=[
        SignedUrl(lambda request: "thumbnail" if request.GET.get("size") == "thumb" else "image"),
        BearerToken(is_free=True),
    ],
    openapi_extra={
        "responses": {
            200: {
                "description": "The image",
                "content": {
                    name: {"schema": {"type": "string", "format": "binary"}} for name in CONTENT_TYPES.values()
                },
                "x-headers": ["ETag"],
            },
            302: {"description": "A redirect to the storage, which serves the image"},
            304: {"description": "Not Modified"},
        }
    },
    response=problems(404, 422),
)
@retry.idempotent
def image(request: HttpRequest, id: str, query: Query[ImageQuery]):
    """The image's bytes, or a redirect to an address of the storage that expires. This call isn't counted. 404 until
    there is an image; 304 if `If-None-Match` contains the ETag.
    """
    generation = _own(request, id)
    return downloads.response(request, generation, query.size, lambda: limits.download(request.auth))


@router.get(
    "/{id}/preview",
    operation_id="getGenerationPreview",
    summary="Fetch a preview",
    auth=[SignedUrl(lambda request: "preview"), BearerToken(is_free=True)],
    openapi_extra={
        "responses": {
            200: {
                "description": "The partially rendered image",
                "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
            }
        }
    },
    response=problems(404, 422),
)
@retry.idempotent
def preview(request: HttpRequest, id: str, query: Query[PreviewQuery]):
    """The latest preview of a generation that is being rendered, a small WebP. This call isn't counted. 404 before the
    renderer has sent one, and once the generation has ended.
    """
    return downloads.preview(_own(request, id))


@router.get(
    "/{id}/events",
    operation_id="streamGenerationEvents",
    summary="Follow a generation",
    auth=[SignedUrl(lambda request: "events"), BearerToken(is_free=True)],
    openapi_extra=_event_stream(
        "Events `progress` with a ProgressOut as data, then `end` with a GenerationOut",
        progress=ProgressOut.model_json_schema(),
        end=GENERATION,
    ),
    response=problems(404),
)
def events(request: HttpRequest, id: str, query: Query[SignedQuery]):
    """Server-sent events: `progress` now and at each change, then `end` with the generation. Isn't counted."""
    generation = retry.idempotent(_own)(request, id)
    return EventStream(event_stream.of(generation, request), limits.wait(request.auth))


@router.post(
    "/{id}/cancel",
    operation_id="cancelGeneration",
    summary="Cancel a generation",
    response={200: GenerationOut, **problems(404, 409)},
)
@retry.idempotent
def cancel(request: HttpRequest, id: str):
    """Cancel an unfinished generation. Cancelling is idempotent."""
    generation = _own(request, id)
    if not generation.cancel() and generation.status != Status.CANCELLED:
        raise Problem(409, f"The generation is {generation.status_name} and can't be cancelled.")
    return _shown(generation, request)


@router.patch(
    "/{id}",
    operation_id="updateGeneration",
    summary="Change a generation",
    response={200: GenerationOut, **problems(404, 413, 415, 422)},
)
@retry.idempotent
def update(request: HttpRequest, id: str, body: GenerationChange):
    """Replace the labels of a generation."""
    generation = _own(request, id)
    generation.set_labels(body.labels)
    return _shown(generation, request)


@router.delete(
    "/{id}", operation_id="deleteGeneration", summary="Delete a generation", response={204: None, **problems(404)}
)
def delete(request: HttpRequest, id: str):
    """Hide a generation. An unfinished one is cancelled."""
    # The view as a whole is not retried: the second time it would not find the hidden row.
    generation = retry.idempotent(_own)(request, id)
    retry.idempotent(generation.delete)()
    return Reply(204, None)


def _shown(generation: Generation, request: HttpRequest) -> HttpResponse:
    return presenters.response(presenters.generation(generation, Viewer.of(request)))


def _own(request: HttpRequest, id: str) -> Generation:
    """The key's own live generation. A malformed id or a generation of another key gets 404."""
    if not (parsed := parsed_id(id)):
        raise Http404("The id of a generation is a UUID, such as 01a2060a-d97e-74b1-8053-66d169bbcd7f.")
    return get_object_or_404(Generation.objects.owned_by(request.auth), pk=parsed)
