"""The models that clients can choose."""

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from apikeys.authentication import BearerToken
from generations import renderers
from generations.api.operations import refused
from generations.models import DEFAULT_MODEL

router = Router(auth=BearerToken(), tags=["models"])


class ModelOut(Schema):
    name: str = Field(description="What `model` of a generation takes.")
    description: str
    is_default: bool = Field(description="Whether it is the one that `default` means.")
    defaults: dict[str, int | float] = Field(description="What it takes for fields that a generation leaves out.")


class UnavailableModel(Schema):
    name: str
    reason: str = Field(description="What no renderer has, such as the model's checkpoint.")


class ModelList(Schema):
    items: list[ModelOut]
    unavailable: list[UnavailableModel] = Field(description="Models that no renderer can do at the moment.")


@router.get("", operation_id="listModels", summary="List models", response={200: ModelList, **refused()})
def list_(request: HttpRequest):
    """The values of a generation's `model`, besides `default`. The default is first, if a renderer supports it."""
    pool = renderers.current_pool()
    unavailable, default = pool.unavailable(), renderers.model(DEFAULT_MODEL)
    return {
        "items": [_out(model, model is default) for name, model in pool.models.items() if name not in unavailable],
        "unavailable": [{"name": name, "reason": reason} for name, reason in unavailable.items()],
    }


def _out(model: renderers.Model, is_default: bool) -> dict:
    return {
        "name": model.name,
        "description": model.description,
        "is_default": is_default,
        "defaults": dict(model.defaults),
    }
