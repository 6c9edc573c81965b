"""Models as Replicate shows them: each has one version, which changes with the model's parameters."""

import json
from hashlib import sha256
from typing import Any

from generations import renderers
from generations.dialects import models
from generations.dialects.replicate.inputs import Input
from generations.models import DEFAULT_MODEL
from generations.renderers.base import Model

OWNER = "lockngen"
# There is no Cog. Clients treat the arrays of versions before 0.3.9 as iterators.
COG_VERSION = "0.3.9"
CREATED_AT = "1970-01-01T00:00:00Z"  # clients require a time, and models have none
HIDDEN = "hidden"  # the version of a model that is gone
OUTPUT = {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}


def find(reference: str) -> Model | None:
    """The model of `name`, `owner/name`, `owner/name:version` or `version`. The owner makes no difference.

    An alias is `owner/name`, of which any version is accepted, or one of the other forms.
    """
    pool = renderers.current_pool()
    path, _, version = reference.partition(":")
    for alias in (reference, path):
        if (name := models.resolve(alias)) != alias:
            return pool.models.get(pool.resolve_model(name))
    name = path.rpartition("/")[2]
    if model := pool.models.get(pool.resolve_model(name)):
        return model if version in ("", version_of(model)) else None
    return next((model for model in pool.models.values() if version_of(model) == name), None)


def valid() -> str:
    return ", ".join(f"{OWNER}/{name}" for name in (DEFAULT_MODEL, *renderers.current_pool().models))


def version_of(model: Model) -> str:
    parameters = json.dumps([model.name, dict(model.defaults), model.largest_seed], sort_keys=True)
    return sha256(parameters.encode()).hexdigest()


def shown_version(name: str) -> tuple[str, str]:
    """The model and the version of a generation that has a model of this name."""
    pool = renderers.get_pool()
    name = pool.resolve_model(name)
    model = pool.models.get(name)
    return f"{OWNER}/{name}", version_of(model) if model else HIDDEN


def as_version(model: Model) -> dict[str, Any]:
    schemas = {"Input": Input.schema_of(model), "Output": OUTPUT}
    return {
        "id": version_of(model),
        "created_at": CREATED_AT,
        "cog_version": COG_VERSION,
        "openapi_schema": {
            "openapi": "3.0.2",
            "info": {"title": model.name, "version": version_of(model)},
            "paths": {},
            "components": {"schemas": schemas},
        },
    }


def as_model(model: Model, base_url: str) -> dict[str, Any]:
    return {
        "url": f"{base_url}/replicate/v1/models/{OWNER}/{model.name}",
        "owner": OWNER,
        "name": model.name,
        "description": model.description,
        "visibility": "private",
        "is_official": False,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "cover_image_url": None,
        "run_count": 0,  # required by clients; counting reads all rows
        "default_example": None,
        "latest_version": as_version(model),
    }
