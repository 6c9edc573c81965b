from typing import Annotated, Any

from ninja import Schema
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from generations.api import presenters
from generations.api.creation import Created
from generations.api.schemas import MAX_IMAGES, GenerationIn
from generations.dialects import models, outcomes
from generations.dialects.outcomes import WaitingCall
from generations.images import infotext
from generations.models import DEFAULT_GUIDANCE, DEFAULT_MODEL, DEFAULT_SIZE, DEFAULT_STEPS, Generation
from generations.renderers.base import MAX_SEED
from lockngen import __version__
from lockngen.web.problems import Problem

LABELS = {"interface": "automatic1111"}  # of the generations of this dialect, which its interrupt and progress need
RANDOM = -1  # as a seed
UNKNOWN = -1


# AUTOMATIC1111 rounds sizes down as well, and accepts numbers as text.
Pixels = Annotated[int, AfterValidator(lambda pixels: pixels // 8 * 8), Field(ge=64, le=2048)]
Seed = Annotated[
    Annotated[int, Field(ge=0, le=MAX_SEED)] | None,
    BeforeValidator(lambda seed: None if seed in (RANDOM, str(RANDOM), "") else seed),
]
Count = Annotated[int, Field(ge=1, le=MAX_IMAGES)]


class OverrideSettings(Schema):
    sd_model_checkpoint: str | None = None


class Txt2Img(GenerationIn):
    """AUTOMATIC1111's fields, and `output_format`, `quality` and `keep_metadata`. Unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore")

    width: Pixels = DEFAULT_SIZE
    height: Pixels = DEFAULT_SIZE
    steps: Annotated[int, Field(ge=1, le=150)] = DEFAULT_STEPS
    guidance: Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)] = Field(
        DEFAULT_GUIDANCE, validation_alias="cfg_scale"
    )
    seed: Seed = None
    batch_size: Count = 1
    n_iter: Count = 1
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    override_settings: OverrideSettings = OverrideSettings()
    send_images: bool = True

    @model_validator(mode="before")
    @classmethod
    def _keep_known_fields(cls, values: Any) -> Any:
        """Null counts as absent."""
        if not isinstance(values, dict):
            return values
        return {name: values[name] for name in KNOWN if values.get(name) is not None}

    @model_validator(mode="after")
    def _set_number_and_model(self) -> "Txt2Img":
        if self.batch_size * self.n_iter > MAX_IMAGES:
            raise ValueError(f"batch_size times n_iter must be at most {MAX_IMAGES}")
        self.n = self.batch_size * self.n_iter
        self.output_format = self.output_format or "png"
        if self.override_settings.sd_model_checkpoint:
            self.model = self.override_settings.sd_model_checkpoint
        return self

    def parameters_for(self, chosen: str | None) -> list[dict[str, Any]]:
        """As `parameters`, with the chosen model if the call names none."""
        model = models.resolve(chosen if chosen and self.model == DEFAULT_MODEL else self.model)
        named = self.model_copy(update={"model": model})
        return [each | {"labels": LABELS} for each in named.parameters()]

    @property
    def sampler(self) -> str:
        return self.sampler_name or self.sampler_index or infotext.SAMPLER


NOT_HERE = {"n", "labels", "webhook", "webhook_events_filter"}
KNOWN = {field.validation_alias or name for name, field in Txt2Img.model_fields.items()} - NOT_HERE


class Call(WaitingCall):
    def __init__(self, body: Txt2Img, created: Created):
        super().__init__(created)
        self._body = body

    def content(self, generations: list[Generation]) -> dict[str, Any]:
        """All images, or those that were completed before an interrupt."""
        completed = [generation for generation in generations if self.is_completed(generation)]
        if not completed:
            raise Problem(409, "The call was interrupted.", type=f"{outcomes.TYPE}generation-cancelled")
        images = [outcomes.base64(generation) for generation in completed] if self._body.send_images else []
        return {"images": images, "parameters": self._parameters(completed[0]), "info": self._info(completed)}

    def _parameters(self, first: Generation) -> dict[str, Any]:
        """Those of the request. Not its other fields, among which clients send their key."""
        return {
            "prompt": first.prompt,
            "negative_prompt": first.negative_prompt,
            "seed": RANDOM if self._body.seed is None else self._body.seed,
            "width": first.width,
            "height": first.height,
            "steps": first.steps,
            "cfg_scale": first.guidance,
            "batch_size": self._body.batch_size,
            "n_iter": self._body.n_iter,
            "sampler_name": self._body.sampler,
            "scheduler": self._body.scheduler,
            "override_settings": self._body.override_settings.dict(exclude_none=True),
            "send_images": self._body.send_images,
        }

    def _info(self, generations: list[Generation]) -> str:
        first, count = generations[0], len(generations)
        seeds = [UNKNOWN if generation.seed is None else generation.seed for generation in generations]
        info = {
            "prompt": first.prompt,
            "all_prompts": [first.prompt] * count,
            "negative_prompt": first.negative_prompt,
            "all_negative_prompts": [first.negative_prompt] * count,
            "seed": seeds[0],
            "all_seeds": seeds,
            "width": first.image_width,
            "height": first.image_height,
            "sampler_name": self._body.sampler,
            "cfg_scale": first.guidance,
            "steps": first.steps,
            "batch_size": self._body.batch_size,
            "sd_model_name": first.model,
            "sd_model_hash": None,
            "index_of_first_image": 0,
            "infotexts": [infotext.of(generation) for generation in generations],
            "job_timestamp": f"{first.created_at:%Y%m%d%H%M%S}",
            "version": f"LockN Gen {__version__}",
        }
        return presenters.as_json(info).decode()
