"""Which renderer RENDERER_URL names."""

from generations.renderers.base import Renderer, RenderError, RenderRequest
from generations.renderers.sketch import SketchRenderer

__all__ = ["RenderError", "RenderRequest", "Renderer", "from_url"]


def from_url(url: str) -> Renderer:
    """The renderer of a URL such as `sketch:` or `sketch:?seconds=3`. Raises ValueError with what is wrong."""
    scheme, _, rest = url.partition(":")
    if scheme != "sketch" or (rest and not rest.startswith("?")):
        raise ValueError(f"{url!r} names no renderer: it takes sketch: or sketch:?seconds=3&fail=1.")
    return SketchRenderer.from_query(rest.removeprefix("?"))
