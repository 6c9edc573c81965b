"""OpenAI's images API: `POST /v1/images/generations`, which responds once the images exist, and `GET /v1/models`."""

import json
import re
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Body, Router
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    model_validator,
)

from apikeys.authentication import BearerToken
from generations.api import creation, limits, presenters
from generations.api.presenters import Viewer
from generations.api.schemas import GenerationIn, Guidance, Pixels, Steps
from generations.api.waiting import follow
from generations.dialects import models, outcomes
from generations.dialects.outcomes import NO_RETRY, TYPE, WaitingCall
from generations.models import DEFAULT_GUIDANCE, DEFAULT_STEPS, Generation
from generations.progress import notifications
from lockngen.database import retry
from lockngen.web import event_streams, problems, threads
from lockngen.web.event_streams import EventStream
from lockngen.web.problems import Problem

PATHS = r"/(v1|images)(/|$)"  # but for those of Replicate, whose format takes precedence
RETRIED = (408, 409, 429)  # the statuses below 500 after which the SDK repeats a call
PIXELS = TypeAdapter(Pixels)


def _size(text: str) -> tuple[int, int] | None:
    """Width and height; None for `auto`, the model's default."""
    if text == "auto":
        return None
    try:
        width, height = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII).groups()
        return PIXELS.validate_python(int(width)), PIXELS.validate_python(int(height))
    except (AttributeError, ValueError):
        raise ValueError("it must be auto or WIDTHxHEIGHT, such as 512x768, from 64 to 2048 in steps of 8") from None


class ImagesIn(GenerationIn):
    """The fields of OpenAI and, by the names of other servers, those that OpenAI doesn't have. Others are ignored."""

    model_config = ConfigDict(extra="ignore")  # such as the second of two names of a field

    size: Annotated[str, AfterValidator(_size)] | None = None
    response_format: Literal["b64_json", "url"] = "b64_json"
    stream: StrictBool = False
    partial_images: Annotated[StrictInt, Field(ge=0, le=3)] = 0  # of each image, if its renderer sends previews
    quality: Annotated[StrictInt, Field(ge=0, le=100), AfterValidator(lambda percent: max(1, percent))] | None = Field(
        None, validation_alias="output_compression"
    )
    steps: Steps = Field(DEFAULT_STEPS, validation_alias=AliasChoices("steps", "num_inference_steps"))
    guidance: Guidance = Field(
        DEFAULT_GUIDANCE, validation_alias=AliasChoices("guidance", "guidance_scale", "cfg_scale", "cfg")
    )

    @model_validator(mode="after")
    def _use_size_and_alias(self) -> "ImagesIn":
        self.model = models.resolve(self.model)
        for name, pixels in zip(("width", "height"), self.size or (), strict=False):
            if name not in self.model_fields_set:
                setattr(self, name, pixels)
        return self


def _aliases(name: str, field: Any) -> list[str]:
    alias = field.validation_alias
    return alias.choices if isinstance(alias, AliasChoices) else [alias or name]


NOT_HERE = {"webhook", "webhook_events_filter"}  # a call waits for its images
KNOWN = {alias for field in ImagesIn.model_fields.items() for alias in _aliases(*field)} - NOT_HERE


def _known_fields(body: Any) -> Any:
    """Null counts as absent, and so does the compression of a PNG."""
    if not isinstance(body, dict):
        return body
    known = {name: value for name, value in body.items() if name in KNOWN and value is not None}
    if known.get("output_format") not in ("jpeg", "webp"):
        known.pop("output_compression", None)
    return known


router = Router(auth=BearerToken())


@router.post("/images/generations")
def generate(request: HttpRequest, body: Body[Annotated[ImagesIn, BeforeValidator(_known_fields)]]) -> HttpResponse:
    """Create the generations, and respond with their images when they have ended."""
    with limits.wait(request.auth) as slot:
        call = Call(request, body, creation.create(request, body.parameters))
        if body.stream:
            return EventStream(call.events(), slot, can_reconnect=False)
        return call.held(request, slot)


@router.get("/models")
def list_models(request: HttpRequest) -> HttpResponse:
    return presenters.response({"object": "list", "data": [_model(name) for name in models.available()]})


@router.get("/models/{id}")
def show_model(request: HttpRequest, id: str) -> HttpResponse:
    names = models.available()
    if id not in names:
        detail = f"The model {id} is not available; valid models: {', '.join(names)}."
        raise Problem(404, detail, type=f"{TYPE}model-not-found")
    return presenters.response(_model(id))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "lockngen"}  # the time isn't known


class Call(WaitingCall):
    def __init__(self, request: HttpRequest, body: ImagesIn, created: creation.Created):
        super().__init__(created)
        self._viewer, self._format = Viewer.of(request), body.response_format
        self._partial_images = body.partial_images

    def content(self, generations: list[Generation]) -> dict[str, Any]:
        images = [self._image(generation) for generation in generations]
        created_at = int(generations[0].created_at.timestamp())
        return {"created": created_at, "data": images, **_facts(generations[0])}

    async def events(self) -> event_streams.Source:
        """Yield the images one after another, then the end; or the reason why there are no more."""
        try:
            for generation in self._generations:
                index = 0
                async with aclosing(follow(generation, self._viewer.key_id)) as states:
                    async for current in states:
                        generation = current
                        if generation.is_unfinished and (EventStream.is_ending() or self.is_over):
                            break
                        partial = await self._partial(generation, index)
                        index += partial is not None
                        yield partial
                yield await threads.read_file(self._completed, generation)
            yield b"data: [DONE]\n\n"
        except Problem as problem:
            error = _error(json.loads(problems.of(problem).content))
            yield b"data: %s\n\n" % presenters.as_json(error)

    async def _partial(self, generation: Generation, index: int) -> bytes | None:
        """The next partial image, if there is a preview. They are sent at equal parts of the progress."""
        report = notifications.last_report(generation)
        is_due = report and report.percent * (self._partial_images + 1) >= 100 * (index + 1)
        if not (is_due and report.preview):
            return None
        image = None
        with suppress(threads.Busy, *retry.ERRORS):
            image = await threads.API.run(outcomes.preview, generation)
        size = {"size": f"{generation.width}x{generation.height}", "output_format": "webp"}
        facts = {"b64_json": image, "partial_image_index": index, **size}
        return image and _event("image_generation.partial_image", generation, facts)

    def _completed(self, generation: Generation) -> bytes:
        return _event("image_generation.completed", generation, self._image(generation) | _facts(generation))

    def _image(self, generation: Generation) -> dict[str, str]:
        if not self.is_completed(generation):
            what = "deleted" if generation.is_deleted else "cancelled"
            detail = f"The generation {generation.pk} was {what}."
            raise Problem(409, detail, type=f"{TYPE}generation-{what}", headers=NO_RETRY)
        if self._format == "url":
            return {"url": presenters.signed_image(self._viewer, generation.pk)}
        return {"b64_json": outcomes.base64(generation)}


def _event(name: str, generation: Generation, facts: dict[str, Any]) -> bytes:
    created_at = int(generation.created_at.timestamp())
    data = {"type": name, **facts, "created_at": created_at, "quality": "auto", "background": "auto"}
    return event_streams.event(name, presenters.as_json(data).decode())


def _facts(generation: Generation) -> dict[str, str]:
    size = f"{generation.image_width}x{generation.image_height}"
    return {"size": size, "output_format": generation.image_type.partition("/")[2]}


def as_error(answer: HttpResponse, document: dict[str, Any]) -> HttpResponse:
    status = 400 if "errors" in document else answer.status_code
    headers = NO_RETRY if status < 500 and status not in RETRIED else {}
    return presenters.response(_error(document), status, headers)


def _error(document: dict[str, Any]) -> dict[str, Any]:
    status = document["status"]
    field = document["errors"][0]["field"] if document.get("errors") else "body"
    code = document["type"].removeprefix(TYPE).replace("-", "_") if document["type"].startswith(TYPE) else None
    by_default = "invalid_api_key" if status == 401 else "model_not_found" if field == "model" else None
    type = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "message": document["detail"],
        "type": type,
        "param": None if field == "body" else field,
        "code": {"rate_limited": "rate_limit_exceeded"}.get(code, code) or by_default,
    }
    return {"error": error}
