"""The renderer that needs no GPU: it paints a landscape for the prompt, and says on it that no model did."""

import math
import time
from collections.abc import Callable
from io import BytesIO
from uuid import UUID

from PIL import Image, PngImagePlugin

from generations.renderers import options
from generations.renderers.base import Model, Progress, RenderError, RenderRequest
from generations.renderers.painting.caption import Caption, storable
from generations.renderers.painting.landscape import Landscape

PAUSE_SECONDS = 0.05
OPTIONS = {"seconds": options.seconds, "fail": options.flag, "concurrency": options.concurrency}

SMALLEST_SIZED = 240
"""Pixels. A narrower picture does without its size in the caption."""


class SketchRenderer:
    """Paints with Pillow alone, on the CPU, in well under a second.

    The same request, whatever its id, makes the same bytes in every process that finds the same fonts. Options help to
    try out what surrounds a renderer: `seconds` makes each render take that long, `fail` makes it fail (after the
    seconds, if there are any), and `concurrency` lets it take no more renders than that.
    """

    models = {"sketch": Model("sketch", "A landscape painted on the CPU. No model made it, and it says so.")}

    def __init__(self, seconds: float = 0, fail: bool = False, concurrency: float = math.inf):
        self.seconds, self.fail, self.concurrency = seconds, fail, concurrency

    @classmethod
    def from_query(cls, query: str) -> "SketchRenderer":
        """The renderer that the part of its URL after `sketch:?` asks for, such as `seconds=3&fail=1`."""
        return cls(**options.read(query, OPTIONS))

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        """Paint the picture."""
        pace = Pace(self.seconds, progress)
        pace.report(0)
        if self.fail:
            pace.wait()
            raise RenderError("The sketch renderer was asked to fail.")
        seed = request.definite_seed
        png = encode(paint(request, seed, pace.report), request, seed)
        pace.wait()
        progress(100)
        return png

    def cancel(self, id: UUID) -> None:
        """A render of this kind ends with its call."""


class Pace:
    """Reports progress: by the stages of painting, or by the clock where the render is to take its time."""

    def __init__(self, seconds: float, progress: Progress):
        self.seconds, self.progress = seconds, progress
        self.started_at = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started_at

    def report(self, stage_percent: int) -> None:
        percent = int(100 * self.elapsed / self.seconds) if self.seconds else stage_percent
        self.progress(min(99, percent))

    def wait(self) -> None:
        """Sleep in short pauses until the seconds are over. What progress raises ends it at once."""
        while (left := self.seconds - self.elapsed) > 0:
            self.report(0)
            time.sleep(min(PAUSE_SECONDS, left))


def paint(request: RenderRequest, seed: int, report: Callable[[int], None]) -> Image.Image:
    size = [f"{request.width}x{request.height}"] if request.width >= SMALLEST_SIZED else []
    facts = ["LockN Gen sketch", f"seed {seed}", *size, "not made by a model"]
    caption = Caption(request.prompt, facts, request.width, request.height)
    landscape = Landscape(request.prompt, seed, request.width, request.height, band=caption.height)
    for percent in landscape.paint():
        report(percent)
    caption.draw(landscape.image, landscape.ground)
    return landscape.image


def encode(image: Image.Image, request: RenderRequest, seed: int) -> bytes:
    metadata = PngImagePlugin.PngInfo()
    metadata.add_itxt("prompt", storable(request.prompt))
    if request.negative_prompt:
        metadata.add_itxt("negative_prompt", storable(request.negative_prompt))
    for name in ("model", "width", "height", "steps", "guidance"):
        metadata.add_itxt(name, str(getattr(request, name)))
    metadata.add_itxt("seed", str(seed))
    metadata.add_itxt("software", "LockN Gen sketch renderer")
    png = BytesIO()
    image.save(png, "PNG", pnginfo=metadata, compress_level=4)
    return png.getvalue()
