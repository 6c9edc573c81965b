from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from apikeys.authentication import BearerToken
from generations import renderers
from generations.renderers.base import DEFAULT_MODEL
from lockngen.web.problems import problems

router = Router(auth=BearerToken(), tags=["models"])


class ModelOut(Schema):
    name: str = Field(description="The value of `model` of a generation.")
    description: str
    is_default: bool = Field(description="Whether `default` stands for it.")
    defaults: dict[str, int | float] = Field(description="Values for fields that a generation omits.")


class UnavailableModel(Schema):
    name: str
    reason: str = Field(description="What is missing, such as the model's checkpoint.")


class ModelList(Schema):
    items: list[ModelOut]
    unavailable: list[UnavailableModel] = Field(description="Models that no renderer can render at the moment.")


@router.get("", operation_id="listModels", summary="List models", response={200: ModelList, **problems()})
def list_(request: HttpRequest):
    """The values of `model`, besides `default`. The default model is the first, if a renderer can render it."""
    pool = renderers.current_pool()
    default = pool.resolve_model(DEFAULT_MODEL)
    return {
        "items": [
            {
                "name": name,
                "description": model.description,
                "is_default": name == default,
                "defaults": dict(model.defaults),
            }
            for name, model in pool.available().items()
        ],
        "unavailable": [{"name": name, "reason": reason} for name, reason in pool.unavailable().items()],
    }
