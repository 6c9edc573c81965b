"""Which renderers RENDERER_URL names, and which models there are."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from django.conf import settings

from generations.renderers import workflows
from generations.renderers.base import (
    Model,
    Renderer,
    RendererFailure,
    RenderError,
    RendererUnavailable,
    RenderRequest,
)
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.renderers.sketch import SketchRenderer

__all__ = [
    "Model",
    "RenderError",
    "RenderRequest",
    "Renderer",
    "RendererFailure",
    "RendererUnavailable",
    "catalogue",
    "current_pool",
    "from_url",
    "get_pool",
    "model",
    "models",
]


FIRST_ANSWER_WITHIN = 1.0  # seconds


def from_url(url: str) -> Renderer:
    """The renderer of a URL such as `sketch:?seconds=3` or `comfyui://host:8188`, or ValueError with what is wrong."""
    scheme, _, rest = url.partition(":")
    if scheme == "sketch" and (not rest or rest.startswith("?")):
        return SketchRenderer.from_query(rest.removeprefix("?"))
    if scheme in ("comfyui", "comfyuis"):
        from generations.renderers.comfyui import ComfyUIRenderer  # its libraries take a while to load

        return ComfyUIRenderer(url, catalogue(), settings.COMFYUI_AUTHORIZATION)
    shown = repr(url) if "@" not in url else "it"  # there may be a password in it
    raise ValueError(f"{shown} names no renderer: it takes sketch: or comfyui://host:8188.")


def catalogue() -> workflows.Catalogue:
    """The workflows there are, beginning with the one that "default" means."""
    folders = [Path(settings.WORKFLOWS_DIR)] if settings.WORKFLOWS_DIR else []
    return workflows.read(*folders).beginning_with(settings.DEFAULT_WORKFLOW)


def get_pool() -> RendererPool:
    """This process's renderers. They count what they render, so there is one fleet for all of its threads."""
    return _pool_of(
        tuple(settings.RENDERER_URL),
        settings.WORKFLOWS_DIR,
        settings.DEFAULT_WORKFLOW,
        settings.COMFYUI_AUTHORIZATION,
    )


def models() -> Mapping[str, Model]:
    """The models that a generation may ask for, by name. The first is what "default" means."""
    return get_pool().models


def model(name: str) -> Model:
    """The model that a name of `models()` or "default" means."""
    return models()[get_pool().resolve_model(name)]


def current_pool() -> RendererPool:
    """The fleet, with knowledge of what its renderers have that is renewed in the background.

    Only the first caller in a process waits for it, and not for long.
    """
    pool = get_pool()
    pool.refresh(0 if all(pooled.support.was_asked for pooled in pool.renderers) else FIRST_ANSWER_WITHIN)
    return pool


@cache  # files and settings are read once in the life of a process
def _pool_of(urls: tuple[str, ...], *what_they_depend_on) -> RendererPool:
    return RendererPool([PooledRenderer(url, from_url(url)) for url in urls])
