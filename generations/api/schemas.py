"""Request and response schemas of the native API.

Its messages are English. The studio, which sets the language of the visitor, shows them translated.
"""

import re
import unicodedata
from datetime import datetime
from random import randrange
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from generations import renderers
from generations.images.formats import CONTENT_TYPES, THUMBNAIL_PIXELS
from generations.models import (
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL,
    DEFAULT_SIZE,
    DEFAULT_STEPS,
    MODEL_LENGTH,
    PROMPT_LENGTH,
    OutputFormat,
)
from generations.renderers.base import MAX_SEED, Model
from generations.renderers.pool import RendererPool
from generations.status import Status
from generations.submission import PARAMETERS, WEBHOOK_LENGTH
from generations.webhooks import addresses
from generations.webhooks.models import Event
from lockngen.web.bodies import RequestBody
from lockngen.web.problems import invalid

MAX_IMAGES = 10  # of one call
MAX_LABELS, MAX_LABEL_NAME, MAX_LABEL_VALUE = 16, 40, 200  # of a generation; characters
QUALITY_NEEDS_FORMAT, SEED_OUT_OF_RANGE = "quality_needs_format", "seed_out_of_range"  # types of Pydantic's errors
LABEL_NAME = re.compile(f"[A-Za-z0-9_.-]{{1,{MAX_LABEL_NAME}}}")
THUMBNAIL_SIZE = f"within {THUMBNAIL_PIXELS} x {THUMBNAIL_PIXELS} pixels"
# Control, format and space characters.
INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}
# Invisible characters of other categories: joiners, fillers, variation selectors and the blank Braille pattern.
BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
OutputFormatName = Literal[tuple(OutputFormat.values)]
StatusName = Literal[tuple(status.name.lower() for status in Status)]


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError(_("it contains a NUL character, which can't be stored"))
    return text


def _not_blank(text: str) -> str:
    if all(unicodedata.category(character) in INVISIBLE for character in BLANK.sub("", text)):
        raise ValueError(_("it is blank: it contains no visible character"))
    return text


def known_model(pool: RendererPool, name: str, field: str = "model") -> Model:
    """The model that has this name. Raises Problem if there is none, or if no renderer can render it."""
    unavailable = pool.unavailable()
    model = pool.resolve_model(name)
    if model not in unavailable and (model in pool.models or model == DEFAULT_MODEL):
        return pool.model(name)
    valid = [each for each in (DEFAULT_MODEL, *pool.models) if pool.resolve_model(each) not in unavailable]
    if model in unavailable:
        reason = _("%(model)s can't be rendered: %(reason)s") % {"model": model, "reason": unavailable[model]}
    else:
        reason = _("it is unknown")
    raise invalid(
        field, _("%(reason)s; valid models: %(names)s") % {"reason": reason, "names": ", ".join(valid) or _("none")}
    )


def _possible_seed(seed: Any) -> Any:
    if type(seed) is int and not 0 <= seed <= MAX_SEED:
        text = "it must be from 0 to {largest}; null draws a random one"
        raise PydanticCustomError(SEED_OUT_OF_RANGE, text, {"largest": MAX_SEED})
    return seed


def bounded_text(max_length: int, min_length: int | None = None) -> Any:
    # The lengths come first: after a function Pydantic's messages would count "items".
    return Annotated[str, Field(min_length=min_length, max_length=max_length), AfterValidator(_without_nul)]


def _label_name(name: str) -> str:
    if not LABEL_NAME.fullmatch(name):
        text = _("a label's name has 1 to %(most)s of the characters A-Z, a-z, 0-9, _, . and -")
        raise ValueError(text % {"most": MAX_LABEL_NAME})
    return name


def _possible_webhook(url: str) -> str:
    addresses.parse(url)
    return url


Text = Annotated[str, AfterValidator(_without_nul)]
LabelName = Annotated[str, AfterValidator(_label_name)]
LabelValue = bounded_text(MAX_LABEL_VALUE)
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=MAX_LABELS)]
Pixels = Annotated[StrictInt, Field(ge=64, le=2048, multiple_of=8)]
Steps = Annotated[StrictInt, Field(ge=1, le=150)]
Guidance = Annotated[float, Field(ge=0, le=30, strict=True, allow_inf_nan=False)]
Prompt = Annotated[bounded_text(PROMPT_LENGTH, min_length=1), AfterValidator(_not_blank)]
NegativePrompt = bounded_text(PROMPT_LENGTH)
Seed = Annotated[StrictInt, Field(ge=0, le=MAX_SEED)]
ImageCount = Annotated[StrictInt, Field(ge=1, le=MAX_IMAGES)]
WebhookUrl = Annotated[bounded_text(WEBHOOK_LENGTH), AfterValidator(_possible_webhook)]
WebhookEvent = Literal[tuple(Event.values)]


class GenerationIn(RequestBody):
    """The parameters of an image."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a lighthouse at dusk"}]})

    prompt: Prompt = Field(description="The content of the image.", examples=["a lighthouse at dusk"])
    negative_prompt: NegativePrompt = Field("", description="Content to avoid.")
    model: bounded_text(MODEL_LENGTH, min_length=1) = Field(
        DEFAULT_MODEL,
        description="`default` or a name of `GET /api/v1/models`. A model may have defaults for the fields below.",
    )
    width: Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    height: Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    steps: Steps = DEFAULT_STEPS
    guidance: Guidance = DEFAULT_GUIDANCE
    seed: Annotated[Seed | None, BeforeValidator(_possible_seed)] = Field(
        None,
        description="The same seed gives the same image. Null draws a random seed, which is returned once completed.",
    )

    output_format: OutputFormatName | None = Field(
        None, description="Format of the image. Null keeps the format of the renderer."
    )
    quality: Annotated[StrictInt, Field(ge=1, le=100)] | None = Field(None, description="Quality of a JPEG or WebP.")
    keep_metadata: StrictBool | None = Field(
        None,
        description="Whether the image's file contains the parameters and other metadata. Null uses the service's "
        "setting.",
    )
    labels: Labels = Field(
        default_factory=dict, description="Names and values of your own, by which a list can be filtered."
    )
    n: ImageCount | None = Field(
        None,
        description="Number of generations, all or none of which are stored. Their seeds follow each other. With `n` "
        "the response is a GenerationList.",
    )
    webhook: WebhookUrl | None = Field(
        None, description="An http or https address to which events of the generation are sent, signed, by POST."
    )
    webhook_events_filter: Annotated[list[WebhookEvent], Field(min_length=1)] | None = Field(
        None, description="The events that are sent. Null sends `completed` alone."
    )

    @model_validator(mode="after")
    def _filter_needs_a_webhook(self) -> "GenerationIn":
        if self.webhook_events_filter is not None and self.webhook is None:
            raise ValueError("webhook_events_filter needs a webhook")
        return self

    @model_validator(mode="after")
    def _quality_needs_a_format(self) -> "GenerationIn":
        if self.quality is not None and self.output_format not in ("jpeg", "webp"):
            raise PydanticCustomError(QUALITY_NEEDS_FORMAT, "quality needs an output_format of jpeg or webp")
        return self

    def parameters(self) -> list[dict[str, Any]]:
        """The parameters of each generation, with the defaults of the model. Raises Problem.

        The schema alone doesn't depend on the models, which change: a repeated call may name one that is gone.
        """
        pool = renderers.current_pool()
        model = known_model(pool, self.model)
        values = {name: getattr(self, name) for name in PARAMETERS}
        values |= {name: value for name, value in model.defaults.items() if name not in self.model_fields_set}
        number = self.n or 1
        largest = pool.largest_seed(model.name) - (number - 1)
        if values["seed"] is None and number > 1:
            values["seed"] = randrange(largest + 1)
        if values["seed"] is not None and values["seed"] > largest:
            text = _("for the model %(model)s it must be from 0 to %(largest)s; null draws a random one")
            raise invalid("seed", text % {"model": model.name, "largest": largest})
        return [values | ({"seed": values["seed"] + index} if index else {}) for index in range(number)]


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
    output_format: OutputFormatName | None = Field(description="The requested format of the image.")
    quality: int | None = Field(description="The requested quality of a JPEG or WebP.")
    keep_metadata: bool | None = Field(description="Whether the image's file was requested with metadata.")
    labels: dict[str, str]
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


class GenerationList(Schema):
    """The generations of a call with `n`."""

    items: list[GenerationOut]


class ProgressOut(Schema):
    """The data of a `progress` event."""

    status: StatusName
    progress: Percent
    step: int | None = Field(description="Completed steps of the renderer; null if it counts no steps.")
    steps: int | None
    preview: str | None = Field(
        description="Signed address of the partially rendered image, another one for each image; null if the "
        "renderer has sent none."
    )


class ChangedOut(Schema):
    """The data of a `changed` event: generations that were deleted, restored or labelled."""

    ids: list[UUID] | None = Field(
        description="Ids, up to 100; null if they are more or unknown, for example after a lost connection."
    )


class GenerationPage(Schema):
    items: list[GenerationOut]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class GenerationChange(RequestBody):
    """What can be changed after a generation was created."""

    labels: Labels = Field(description="Replaces all labels.")
