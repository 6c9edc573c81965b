"""Request and response schemas of the native API."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.conf import settings
from ninja import Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from generations import renderers
from generations.api import cursors
from generations.api import text as text_rules
from generations.images.downloads import Size
from generations.images.formats import CONTENT_TYPES, THUMBNAIL_PIXELS
from generations.models import (
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL,
    DEFAULT_SIZE,
    DEFAULT_STEPS,
    MODEL_LENGTH,
    PROMPT_LENGTH,
    Generation,
)
from generations.progress import notifications as events
from generations.renderers.base import MAX_SEED
from generations.status import Status
from lockngen.web.bodies import RequestBody

THUMBNAIL_SIZE = f"within {THUMBNAIL_PIXELS} x {THUMBNAIL_PIXELS} pixels"
StatusName = Literal[tuple(status.name.lower() for status in Status)]


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it contains a NUL character, which can't be stored")
    return text


def _not_blank(text: str) -> str:
    if text_rules.is_blank(text):
        raise ValueError("it is blank: it contains no visible character")
    return text


def _known_model(name: str) -> str:
    pool = renderers.current_pool()
    unavailable = pool.unavailable()
    model = pool.resolve_model(name)
    if model in pool.models and model not in unavailable:
        return name
    valid = [each for each in (DEFAULT_MODEL, *pool.models) if pool.resolve_model(each) not in unavailable]
    reason = f"{model} can't be rendered: {unavailable[model]}" if model in unavailable else "it is unknown"
    raise ValueError(f"{reason}; valid models: {', '.join(valid) or 'none'}")


def _possible_seed(seed: Any) -> Any:
    if type(seed) is int and not 0 <= seed <= MAX_SEED:
        raise ValueError(f"it must be from 0 to {MAX_SEED}; null draws a random one")
    return seed


def _digits(value: Any) -> Any:
    # A query contains only text, of which Pydantic would accept "1.0" and " 1" as well.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("it is not a whole number")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
Pixels = Annotated[StrictInt, Field(ge=64, le=2048, multiple_of=8)]
Steps = Annotated[StrictInt, Field(ge=1, le=150)]
Guidance = Annotated[float, Field(ge=0, le=30, strict=True, allow_inf_nan=False)]


class GenerationIn(RequestBody):
    """The parameters of a picture."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a lighthouse at dusk"}]})

    prompt: Annotated[Text, Field(max_length=PROMPT_LENGTH), AfterValidator(_not_blank)] = Field(
        description="The content of the picture.", examples=["a lighthouse at dusk"], min_length=1
    )
    negative_prompt: Annotated[Text, Field(max_length=PROMPT_LENGTH)] = Field("", description="Content to avoid.")
    model: Annotated[Text, Field(min_length=1, max_length=MODEL_LENGTH), AfterValidator(_known_model)] = Field(
        DEFAULT_MODEL,
        validate_default=True,
        description="`default` or a name of `GET /api/v1/models`. A model may have defaults for the fields below.",
    )
    width: Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    height: Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    steps: Steps = DEFAULT_STEPS
    guidance: Guidance = DEFAULT_GUIDANCE
    seed: Annotated[Annotated[StrictInt, Field(ge=0, le=MAX_SEED)] | None, BeforeValidator(_possible_seed)] = Field(
        None,
        description="The same seed gives the same picture. Null draws a random seed, which is returned once completed.",
    )

    @field_validator("seed")
    @classmethod
    def _seed_fits_the_model(cls, seed: int | None, info: ValidationInfo) -> int | None:
        pool = renderers.get_pool()
        if seed is None or "model" not in info.data:  # the model is invalid
            return seed
        largest = pool.largest_seed(model := pool.resolve_model(info.data["model"]))
        if seed > largest:
            raise ValueError(f"for the model {model} it must be from 0 to {largest}; null draws a random one")
        return seed

    @model_validator(mode="after")
    def _apply_model_defaults(self) -> "GenerationIn":
        pool = renderers.get_pool()
        for name, value in pool.models[pool.resolve_model(self.model)].defaults.items():
            if name not in self.model_fields_set:
                setattr(self, name, value)
        return self


Percent = Annotated[
    int,
    Field(ge=0, le=100, description="Progress in percent: 100 once completed, 0 in other states than processing."),
]


class ImageOut(Schema):
    """The stored image."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    bytes: int = Field(description="Size in bytes.")
    type: Literal[tuple(CONTENT_TYPES.values())] = Field(description="Content type.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the bytes in hex; also the image's ETag.")


class SignedUrls(Schema):
    """Addresses that need no `Authorization` header, for example for `<img>` and `EventSource`."""

    image: str | None = Field(description="Address of the image, null until the generation is completed.")
    thumbnail: str | None = Field(description="Address of the thumbnail, null until the generation is completed.")
    events: str = Field(description="Address of the event stream.")
    expires_at: datetime = Field(
        description="When the addresses expire. They end earlier with the key or the generation."
    )


class GenerationOut(Schema):
    id: UUID
    status: StatusName
    progress: Percent
    prompt: str
    negative_prompt: str
    model: str = Field(description="The requested model; once completed, the model that was used for `default`.")
    width: int
    height: int
    steps: int
    guidance: float
    seed: int | None = Field(description="The requested seed; once completed, the seed that was used.")
    image_url: str | None = Field(description="Address of the image, null until the generation is completed.")
    thumbnail_url: str | None = Field(description=f"Address of the thumbnail, a WebP {THUMBNAIL_SIZE}.")
    signed_urls: SignedUrls = Field(
        description="Addresses of image, thumbnail and events that need no header and expire."
    )
    image: ImageOut | None = Field(description="Facts about the image, null until the generation is completed.")
    error: str | None = Field(description="Why it failed; null unless it failed.")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None = Field(description="When it was completed, failed or was cancelled.")


class ProgressOut(Schema):
    """The data of a `progress` event."""

    status: StatusName
    progress: Percent
    step: int | None = Field(description="Completed steps of the renderer; null if it counts no steps.")
    steps: int | None

    @classmethod
    def of(cls, generation: Generation) -> "ProgressOut":
        report = events.last_report(generation)
        return cls(
            status=generation.status_name,
            progress=events.percent(generation),
            step=report and report.step,
            steps=report and report.steps,
        )


class GenerationPage(Schema):
    items: list[GenerationOut]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class WaitQuery(Schema):
    wait: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=settings.WEB_MAX_WAIT)] | None = Field(
        None, description="Seconds to wait for the end of the generation, as with `Prefer: wait=N`."
    )


class SignedQuery(Schema):
    signature: str | None = Field(None, description="Replaces the key: part of an address in `signed_urls`.")


class ImageQuery(SignedQuery):
    size: Size = Field("full", description=f"`thumb` is a WebP {THUMBNAIL_SIZE}.")


# A cursor is documented as the text that is sent, not as the parsed id.
CURSOR = {"anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}, {"type": "null"}]}


class ListQuery(Schema):
    status: StatusName | None = Field(None, description="Only generations in this state.")
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=100)] = 20
    cursor: Annotated[UUID, BeforeValidator(cursors.decode)] | None = Field(
        None, description="The `next_cursor` of the previous page.", json_schema_extra=CURSOR
    )
