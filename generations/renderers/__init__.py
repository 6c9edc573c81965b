"""The renderers of RENDERER_URL and their models."""

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
        from generations.renderers.comfyui import ComfyUIRenderer  # its libraries load slowly

        return ComfyUIRenderer(url, catalogue(), settings.COMFYUI_AUTHORIZATION)
    shown = repr(url) if "@" not in url else "it"  # it may contain a password
    raise ValueError(f"{shown} names no renderer: it takes sketch: or comfyui://host:8188.")


def catalogue() -> workflows.Catalogue:
    """The installed workflows. The first is the default model."""
    folders = [Path(settings.WORKFLOWS_DIR)] if settings.WORKFLOWS_DIR else []
    return workflows.read(*folders).beginning_with(settings.DEFAULT_WORKFLOW)


def get_pool() -> RendererPool:
    """This process's renderers. They count their renders, so all threads share one pool."""
    return _pool_of(
        tuple(settings.RENDERER_URL),
        settings.WORKFLOWS_DIR,
        settings.DEFAULT_WORKFLOW,
        settings.COMFYUI_AUTHORIZATION,
    )


def models() -> Mapping[str, Model]:
    """The models that clients can choose, by name. The first is the default."""
    return get_pool().models


def model(name: str) -> Model:
    """The model of this name, or the default model for "default"."""
    return models()[get_pool().resolve_model(name)]


def current_pool() -> RendererPool:
    """The pool, whose knowledge of available models is refreshed in the background.

    Only the first caller in a process waits for the renderers, for at most FIRST_ANSWER_WITHIN.
    """
    pool = get_pool()
    pool.refresh(0 if all(pooled.support.was_asked for pooled in pool.renderers) else FIRST_ANSWER_WITHIN)
    return pool


@cache  # files and settings are read once per process
def _pool_of(urls: tuple[str, ...], *what_they_depend_on) -> RendererPool:
    return RendererPool([PooledRenderer(url, from_url(url)) for url in urls])
