"""The renderers of RENDERER_URL and their models."""

from functools import cache
from pathlib import Path

from django.conf import settings

from generations.renderers import workflows
from generations.renderers.base import Renderer
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.renderers.sketch import SketchRenderer

FIRST_SUPPORT_TIMEOUT = 1.0  # seconds


def from_url(url: str) -> Renderer:
    """Create the renderer of a URL, such as `sketch:?seconds=3` or `openai://host:8000`. Raises ValueError."""
    scheme, _, rest = url.partition(":")
    if scheme == "sketch" and (not rest or rest.startswith("?")):
        return SketchRenderer.from_query(rest.removeprefix("?"))
    if scheme in ("comfyui", "comfyuis"):
        from generations.renderers.comfyui import ComfyUIRenderer  # here, as its libraries load slowly

        return ComfyUIRenderer(url, catalogue(), settings.COMFYUI_AUTHORIZATION)
    if scheme in ("openai", "openais"):
        from generations.renderers.openai.renderer import OpenAIRenderer

        return OpenAIRenderer(url, settings.OPENAI_RENDERER_KEY)
    shown = repr(url) if "@" not in url else "it"  # it may contain a password
    raise ValueError(f"{shown} names no renderer: valid are sketch:, comfyui://host:8188 and openai://host:8000.")


def catalogue() -> workflows.Catalogue:
    """The installed workflows. The first is the default model."""
    folders = [Path(settings.WORKFLOWS_DIR)] if settings.WORKFLOWS_DIR else []
    return workflows.read(*folders).beginning_with(settings.DEFAULT_WORKFLOW)


def get_pool() -> RendererPool:
    """The renderers of this process. The pool counts their renders, so all threads share it."""
    dependencies = settings.WORKFLOWS_DIR, settings.DEFAULT_WORKFLOW, settings.COMFYUI_AUTHORIZATION
    return _pool_of(tuple(settings.RENDERER_URL), *dependencies, settings.OPENAI_RENDERER_KEY)


def current_pool() -> RendererPool:
    """The pool, whose available models are refreshed in the background.

    Only the first caller in a process waits for the renderers, for at most FIRST_SUPPORT_TIMEOUT.
    """
    pool = get_pool()
    pool.refresh(0 if all(pooled.support.was_queried for pooled in pool.renderers) else FIRST_SUPPORT_TIMEOUT)
    return pool


@cache  # files and settings are read once per process
def _pool_of(urls: tuple[str, ...], *dependencies) -> RendererPool:
    return RendererPool([PooledRenderer(url, from_url(url)) for url in urls])
