"""The `input` of a prediction, by the names of Replicate's image models, and the parameters that it stands for."""

import re
from math import sqrt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, model_validator

from generations.api import schemas
from generations.models import DEFAULT_GUIDANCE, DEFAULT_SIZE, DEFAULT_STEPS
from generations.renderers.base import Model

SMALLEST, LARGEST, STEP = 64, 2048, 8  # of schemas.Pixels
RATIO = re.compile(r"([1-9]\d?):([1-9]\d?)")
HAVE_QUALITY = ("jpeg", "webp")


class Input(BaseModel):
    """Other fields are ignored, as clients send the inputs of other models. So are nulls."""

    model_config = ConfigDict(populate_by_name=True)  # some models name them steps and guidance

    prompt: schemas.Prompt
    negative_prompt: schemas.NegativePrompt = Field("", description="Content to avoid.")
    width: schemas.Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    height: schemas.Pixels = Field(DEFAULT_SIZE, description="Pixels, in steps of 8.")
    aspect_ratio: str = Field("", description="Such as 16:9. Used without width and height; keeps the usual area.")
    seed: schemas.Seed = Field(None, description="The same seed gives the same image. Without one it is random.")
    n: schemas.ImageCount = Field(1, alias="num_outputs")
    steps: schemas.Steps = Field(DEFAULT_STEPS, alias="num_inference_steps")
    guidance: schemas.Guidance = Field(DEFAULT_GUIDANCE, alias="guidance_scale")
    output_format: Annotated[
        Literal["png", "jpg", "jpeg", "webp"], AfterValidator(lambda name: "jpeg" if name == "jpg" else name)
    ] = None
    quality: Annotated[StrictInt, Field(ge=0, le=100), AfterValidator(lambda quality: max(1, quality))] = Field(
        None, alias="output_quality", description="Of a JPEG or WebP."
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    def parameters(self, model: Model) -> list[dict[str, Any]]:
        """The parameters of each generation. Raises Problem."""
        values = self.model_dump(exclude_unset=True, exclude={"aspect_ratio"})
        if "width" not in values and "height" not in values and (ratio := RATIO.fullmatch(self.aspect_ratio)):
            values |= _size(model, int(ratio[1]) / int(ratio[2]))
        if self.output_format not in HAVE_QUALITY:  # clients send the quality with every format
            values.pop("quality", None)
        return schemas.GenerationIn(model=model.name, **values).parameters()

    @classmethod
    def schema_of(cls, model: Model) -> dict[str, Any]:
        """The JSON schema, with the defaults of the model."""
        schema = cls.model_json_schema()
        for order, (name, field) in enumerate(cls.model_fields.items()):
            shown = schema["properties"][field.alias or name]
            default = model.defaults.get(name, shown.pop("default", None))
            shown |= {"x-order": order} | ({} if default is None else {"default": default})
        return schema


def _size(model: Model, ratio: float) -> dict[str, int]:
    """The width and height with this ratio and the area that the model's images usually have."""
    area = model.defaults.get("width", DEFAULT_SIZE) * model.defaults.get("height", DEFAULT_SIZE)
    width = sqrt(area * ratio)
    sizes = {"width": width, "height": width / ratio}
    return {side: max(SMALLEST, min(LARGEST, round(pixels / STEP) * STEP)) for side, pixels in sizes.items()}
