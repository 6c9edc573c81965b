"""The names by which the clients of a dialect choose a model."""

from django.conf import settings

from generations import renderers
from generations.renderers.base import DEFAULT_MODEL


def resolve(name: str) -> str:
    """The model that an alias of MODEL_ALIASES stands for, or the name itself."""
    return settings.MODEL_ALIASES.get(name, name)


def available() -> list[str]:
    """The models that can be rendered at the moment, the default first, then `default` and the aliases of these."""
    pool = renderers.current_pool()
    unavailable = pool.unavailable()
    names = dict.fromkeys([*pool.models, DEFAULT_MODEL, *settings.MODEL_ALIASES])
    return [
        name
        for name in names
        if (model := pool.resolve_model(resolve(name))) in pool.models and model not in unavailable
    ]
