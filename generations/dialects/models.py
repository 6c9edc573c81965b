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
    names, models = dict.fromkeys([*pool.models, DEFAULT_MODEL, *settings.MODEL_ALIASES]), pool.available()
    return [name for name in names if pool.resolve_model(resolve(name)) in models]
