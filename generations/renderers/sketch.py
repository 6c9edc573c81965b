"""The built-in renderer: it draws a landscape on the CPU, with a caption that states that no model made it."""

import math
import textwrap
import time
from collections.abc import Callable
from io import BytesIO
from uuid import UUID

from anyascii import anyascii
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from generations.renderers import options
from generations.renderers.base import Model, Progress, RenderError, RenderRequest
from generations.renderers.sketch_landscape import Landscape, mix
from generations.renderers.sketch_scenes import Colour

PAUSE_SECONDS = 0.05
OPTIONS = {"seconds": options.seconds, "fail": options.flag, "concurrency": options.concurrency}

SMALLEST_CAPTIONED = 160
"""Pixels. A narrower or lower picture has no caption."""


class SketchRenderer:
    """Draws with Pillow in well under a second. The same request, apart from its id, gives the same bytes.

    Options for tests and demonstrations: `seconds` is the minimum duration of a render, `fail` makes each render fail
    after that, `concurrency` limits concurrent renders.
    """

    models = {"sketch": Model("sketch", "A landscape drawn on the CPU, without a model, as its caption says.")}

    def __init__(self, seconds: float = 0, fail: bool = False, concurrency: float = math.inf):
        self.seconds, self.fail, self.concurrency = seconds, fail, concurrency

    @classmethod
    def from_query(cls, query: str) -> "SketchRenderer":
        """The renderer for the options of its URL, such as `seconds=3&fail=1`."""
        return cls(**options.read(query, OPTIONS))

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        started_at = time.monotonic()

        def report(percent: int) -> None:
            elapsed = time.monotonic() - started_at
            progress(min(99, int(100 * elapsed / self.seconds) if self.seconds else percent))

        report(0)
        png = b"" if self.fail else encode(paint(request, report), request)
        while (left := started_at + self.seconds - time.monotonic()) > 0:
            report(0)
            time.sleep(min(PAUSE_SECONDS, left))
        if self.fail:
            raise RenderError("The sketch renderer is set to fail.")
        progress(100)
        return png

    def cancel(self, id: UUID) -> None:
        """Does nothing: a render ends when its progress callback raises."""


def storable(text: str) -> str:
    """Replace lone surrogates and NUL, which PNG doesn't accept."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def encode(image: Image.Image, request: RenderRequest) -> bytes:
    metadata = PngImagePlugin.PngInfo()
    prompts = ["prompt", "negative_prompt"] if request.negative_prompt else ["prompt"]
    for name in (*prompts, "model", "width", "height", "steps", "guidance"):
        metadata.add_itxt(name, storable(str(getattr(request, name))))
    metadata.add_itxt("seed", str(request.definite_seed))
    metadata.add_itxt("software", "LockN Gen sketch renderer")
    png = BytesIO()
    image.save(png, "PNG", pnginfo=metadata, compress_level=3)
    return png.getvalue()


def paint(request: RenderRequest, report: Callable[[int], None]) -> Image.Image:
    caption = Caption(request)
    landscape = Landscape(request, request.height - caption.height)
    for percent, step in enumerate((landscape.sky, landscape.land, landscape.water, landscape.shore), 1):
        step()
        report(20 * percent)
    caption.draw(landscape.image, landscape.ground)
    report(95)
    return landscape.image


class Caption:
    """The prompt and, below it, the facts about the picture.

    Pillow's built-in font contains little more than ASCII, so other scripts and emoji are transliterated. The metadata
    contains the original prompt.
    """

    def __init__(self, request: RenderRequest):
        self.lines: list[tuple[str, ImageFont.FreeTypeFont, float]] = []
        self.height = 0
        width, height = request.width, request.height
        if min(width, height) < SMALLEST_CAPTIONED:
            return
        size = max(11.0, min(40.0, width / 30, height / 23))
        self.margin = 1.4 * size
        prompt = " ".join(anyascii(storable(request.prompt[:1000])).split())
        facts = f"LockN Gen sketch · seed {request.definite_seed} · {width}x{height} · not made by a model"
        self.add(prompt, size, 0.08, width, 1 if height < 240 else 2)
        self.add(facts, max(9.5, 0.64 * size), 0.35, width, 4)
        self.height = round(sum(1.4 * font.size for _, font, _ in self.lines) + 1.6 * self.margin)

    def add(self, text: str, size: float, fade: float, width: int, max_lines: int) -> None:
        font, room = ImageFont.load_default(size), width - 2 * self.margin
        text = "".join(character for character in text if character.isprintable())
        for columns in range(max(4, int(3 * room / size)), 3, -1):
            lines = textwrap.wrap(text, columns, max_lines=max_lines, placeholder=" …")
            if all(font.getlength(line) <= room for line in lines):
                break
        self.lines += [(line, font, fade) for line in lines]

    def draw(self, image: Image.Image, ground: Colour) -> None:
        ink = (255, 255, 255) if sum(ground) < 384 else (0, 0, 0)
        y = image.height - self.height + 0.7 * self.margin if self.lines else 0
        for text, font, fade in self.lines:
            # Drawn enlarged and then reduced, as hinting makes small letters uneven.
            large = font.font_variant(size=4 * font.size)
            mask = Image.new("L", (4 * image.width, 8 * math.ceil(font.size)))
            ImageDraw.Draw(mask).text((4 * self.margin, 0), text, font=large, fill=255)
            image.paste(mix(ink, ground, fade), (0, round(y)), mask.reduce(4))
            y += 1.4 * font.size
