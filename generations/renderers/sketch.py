"""The built-in renderer: it draws a landscape on the CPU, with a caption that states that no model made it."""

import math
import re
import textwrap
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from random import Random
from uuid import UUID

from anyascii import anyascii
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from generations.renderers import options
from generations.renderers.base import Model, Percent, Progress, RenderError, RenderRequest

OPTIONS = {"seconds": options.seconds, "fail": options.flag, "concurrency": options.concurrency}
SMALLEST_CAPTIONED = 160  # pixels; a narrower or lower image has no caption
MARGIN = 1.4  # beside the caption, in heights of its letters
COLUMNS = 320  # points of a ridge, whatever the width of the image
Colour = tuple[int, ...]
PALETTES = (
    # words of a prompt; the sky from top to horizon in four colours, the sun or moon, the farthest and nearest land
    ("sunset dusk evening", "#2b1d4e #8a3a6b #e8735a #ffc98b #fff0c9 #bd6070 #1d1030"),
    ("sunrise dawn morning golden", "#666ba6 #b08cb8 #f0b3b6 #ffe0cf #fff6ea #bb8aa8 #2f1d3d"),
    ("summer noon sunny sky", "#2f7fc1 #6db3e2 #b5ddf0 #eef7f2 #fffdf0 #8fbdd0 #123c4c"),
    ("spring meadow field green garden", "#4f9fb8 #95cfc9 #d9ecc8 #f9f3cf #fffbe0 #9cc7a9 #12352a"),
    ("night midnight moon moonlight star starry 夜 月 星", "#060b1f #0f1f45 #27467a #6787ab #f4f1e4 #40608c #050a16"),
    ("neon cyberpunk synthwave futuristic", "#0b0a2a #3b1466 #b0267c #ff8a5b #ffe3b8 #5d1d78 #07061a"),
    ("storm stormy rain rainy thunder", "#20262e #3f4a57 #6f7f8a #b3b8b2 #e8e6d8 #68767e #0e1418"),
    ("fog foggy mist misty haze hazy", "#93a4a6 #b3c0be #d3dad4 #ecefe6 #fffdf4 #b0bfbb #1c2b2b"),
    ("snow snowy winter ice icy frozen arctic 雪", "#4f80b0 #8fb5d6 #c3d9ea #eef4f8 #ffffff #86a8c8 #f3f7fa"),
    ("desert dune sand sahara mars", "#3f8fb0 #8fc4c4 #f2dfb4 #fbe9c6 #fffbe8 #deae79 #57220f"),
)
LANDS = (
    ("city skyline town street tower building 東京 市 街", "city"),
    ("desert dune sand sahara mars", "dunes"),
    ("forest wood tree pine jungle 森", "forest"),
    ("mountain peak alp cliff canyon snow 山 雪", "mountains"),
    ("hill valley meadow field garden", "hills"),
)
WATER = "sea ocean lake river beach island coast harbor harbour boat ship lighthouse 海 湖 川 船"


class SketchRenderer:
    """Draws 1024x1024 pixels in about a tenth of a second. The same request, apart from its id, gives the same bytes.

    Options for tests and demonstrations: `seconds` is the minimum duration of a render, `fail` makes each render fail
    after that, `concurrency` limits concurrent renders.
    """

    models = {"sketch": Model("sketch", "A landscape drawn on the CPU, without a model, as its caption states.")}

    def __init__(self, seconds: float = 0, fail: bool = False, concurrency: float = math.inf):
        self.seconds, self.fail, self.concurrency = seconds, fail, concurrency

    @classmethod
    def from_query(cls, query: str) -> "SketchRenderer":
        return cls(**options.read(query, OPTIONS))

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        started_at = time.monotonic()

        def report(percent: int, preview: bytes | None = None) -> None:
            elapsed = time.monotonic() - started_at
            percent = min(99, int(100 * elapsed / self.seconds) if self.seconds else percent)
            progress(Percent(percent, preview=preview) if preview else percent)

        report(0)
        png = b"" if self.fail else encode(paint(request, report), request)
        while (left := started_at + self.seconds - time.monotonic()) > 0:
            report(0, png)
            time.sleep(min(0.05, left))
        if self.fail:
            raise RenderError("The sketch renderer is set to fail.")
        progress(100)
        return png

    def cancel(self, id: UUID) -> None:
        """Does nothing: a render ends when its progress callback raises."""


def encode(image: Image.Image, request: RenderRequest) -> bytes:
    names = ("prompt", "negative_prompt", "model", "width", "height", "steps", "guidance")
    facts = {name: getattr(request, name) for name in names if name != "negative_prompt" or request.negative_prompt}
    metadata = PngImagePlugin.PngInfo()
    for name, value in {**facts, "seed": request.definite_seed, "software": "LockN Gen sketch renderer"}.items():
        # PNG accepts neither lone surrogates nor NUL.
        metadata.add_itxt(name, str(value).encode("utf-8", "replace").decode().replace("\0", "\ufffd"))
    png = BytesIO()
    image.save(png, "PNG", pnginfo=metadata, compress_level=3)
    return png.getvalue()


def paint(request: RenderRequest, report: Callable[[int], None]) -> Image.Image:
    """Draw the image enlarged and then reduce it, so that edges and small letters are smooth."""
    scale = 4 if request.width * request.height <= 300 * 300 else 2
    lines = caption(request, scale)
    margin = MARGIN * lines[0][1].size if lines else 0
    landscape = Landscape(request, scale, round(sum(1.4 * font.size for _, font, _ in lines) + 1.6 * margin))
    for number, layer in enumerate((landscape.sky, landscape.ridges, landscape.water, landscape.shore), 1):
        layer()
        report(20 * number)
    ink = (255, 255, 255) if sum(landscape.near) < 384 else (0, 0, 0)
    y = landscape.height + 0.7 * margin
    for text, font, fade in lines:
        landscape.draw.text((margin, y), text, mix(ink, landscape.near, fade), font)
        y += 1.4 * font.size
    return landscape.image.reduce(scale)


def caption(request: RenderRequest, scale: int) -> list[tuple[str, ImageFont.FreeTypeFont, float]]:
    """The lines of the prompt and of the facts about the image, each with its font and how faint it is.

    Other scripts and emoji are transliterated, as Pillow's built-in font contains little more than ASCII.
    """
    width, height, lines = request.width, request.height, []
    if min(width, height) < SMALLEST_CAPTIONED:
        return lines
    size = scale * max(11.0, min(40.0, width / 30, height / 23))
    room = scale * width - 2 * MARGIN * size
    prompt = "".join(filter(str.isprintable, " ".join(anyascii(request.prompt[:1000]).split())))
    facts = f"LockN Gen sketch · seed {request.definite_seed} · {width}x{height} · not made by a model"
    fine = max(9.5 * scale, 0.64 * size)
    for text, font_size, fade, max_lines in (prompt, size, 0.08, 1 if height < 240 else 2), (facts, fine, 0.35, 4):
        font = ImageFont.load_default(font_size)
        for columns in range(max(4, int(3 * room / font_size)), 3, -1):
            wrapped = textwrap.wrap(text, columns, max_lines=max_lines, placeholder=" …")
            if all(font.getlength(line) <= room for line in wrapped):
                break
        lines += [(line, font, fade) for line in wrapped]
    return lines


class Landscape:
    """Layers from far to near. Words of the prompt choose the colours, the land, and whether there is water."""

    def __init__(self, request: RenderRequest, scale: int, caption: int):
        self.random = random = Random(f"{request.definite_seed} {request.prompt}".encode("utf-8", "surrogatepass"))
        mentioned = [[row for row in table if mentions(request.prompt, row[0])] or table for table in (PALETTES, LANDS)]
        (_, palette), (_, self.land) = map(random.choice, mentioned)
        *self.skies, self.light, self.far, self.near = map(ImageColor.getrgb, palette.split())
        has_water = mentions(request.prompt, WATER) or (self.land != "dunes" and random.random() < 0.5)
        self.width, self.height = scale * request.width, scale * request.height - caption
        self.unit = min(self.height, 1.5 * self.width)  # sizes are in proportion to it
        self.horizon = round(self.height - min(0.4 * self.height, 1.6 * self.width))
        self.foot = self.horizon + (self.height - self.horizon) // 4 if has_water else self.height  # of ridges
        self.light_x = self.width * random.choice((random.uniform(0.2, 0.42), random.uniform(0.58, 0.8)))
        self.image = Image.new("RGB", (self.width, self.height + caption), self.near)
        self.draw = ImageDraw.Draw(self.image, "RGBA")

    def sky(self) -> None:
        random, radius = self.random, self.unit * self.random.uniform(0.045, 0.07)
        self.image.paste(gradient("RGB", self.skies, self.width, self.foot))
        for _ in range(150 if sum(self.skies[0]) < 80 else 0):
            place = random.uniform(0, self.width), random.random() ** 1.5 * self.horizon
            self.ellipse(*place, 0.002 * self.unit, 0.002 * self.unit, random.uniform(0.2, 1))
        x, y, size = self.light_x, self.horizon - self.unit * random.uniform(0.24, 0.4), round(16 * radius)
        halo = Image.radial_gradient("L").point([round(140 * max(0, 1 - v / 180) ** 2) for v in range(256)])
        self.image.paste(self.light, (round(x - size / 2), round(y - size / 2)), halo.resize((size, size)))
        self.ellipse(x, y, radius, radius, 1)

    def ellipse(self, x: float, y: float, width: float, height: float, opacity: float) -> None:
        self.draw.ellipse((x - width, y - height, x + width, y + height), (*self.light, round(255 * opacity)))

    def ridges(self) -> None:
        """Each ridge is darker than the one behind it, with mist at its foot."""
        for number in range(5):
            base = self.horizon + 0.8 * (self.foot - self.horizon) * (number / 4) ** 1.3
            colour = mix(self.far, self.near, number / 5)
            if self.land == "city" and number:
                self.buildings(base, colour)
            else:
                height = self.unit * (0.4 - 0.06 * number if self.land == "mountains" else 0.2)
                crest = self.crest(base, height, 1.5 + 0.4 * number)
                self.draw.polygon([*crest, (self.width, self.foot), (0, self.foot)], colour)
            top = round(base - 0.1 * self.unit)
            self.image.paste(self.skies[-1], (0, top), gradient("L", (0, 20, 110), self.width, self.foot - top))

    def crest(self, base: float, height: float, waves: float) -> list[tuple[float, float]]:
        """A line of fractal noise: angular for mountains, otherwise round."""
        method = Image.Resampling.BILINEAR if self.land == "mountains" else Image.Resampling.BICUBIC
        total = [0.0] * COLUMNS
        for octave in range(2 if self.land == "dunes" else 6):
            size = math.ceil(waves * self.width / self.unit * 2**octave) + 2
            noise = Image.frombytes("L", (size, 1), self.random.randbytes(size)).convert("F")
            values = noise.resize((COLUMNS, 1), method).get_flattened_data()
            total = [before + value / 255 / 2.2**octave for before, value in zip(total, values, strict=True)]
        return [(self.width * i / (COLUMNS - 1), base - height * value / 1.4) for i, value in enumerate(total)]

    def buildings(self, base: float, colour: Colour) -> None:
        random, pane, left = self.random, 0.0052 * self.unit, -0.05 * self.unit
        while left < self.width:
            width = self.unit * random.uniform(0.035, 0.08)
            top = base - self.unit * (0.06 + 0.28 * random.random() ** 2)
            self.draw.rectangle((left, top, left + width, self.foot), colour)
            for column in range(int(width / pane / 2.4) - 1):
                for row in range(int((self.foot - top) / pane / 3) - 1):
                    if random.random() < 0.25:
                        x, y = left + pane * (1.6 + 2.4 * column), top + pane * (2 + 3 * row)
                        self.draw.rectangle((x, y, x + pane, y + 1.4 * pane), mix(colour, self.light, 0.8))
            left += width * random.uniform(0.85, 1.4)

    def water(self) -> None:
        """The image above the water, mirrored and deeper in colour, with waves and a path of light."""
        if self.foot == self.height:
            return
        random, unit, depth = self.random, self.unit, self.height - self.foot
        above = self.image.crop((0, self.foot - depth, self.width, self.foot))
        surface = Image.blend(ImageOps.flip(above), gradient("RGB", self.skies[::-1], self.width, depth), 0.4)
        for row in range(0, depth, 2):
            near = row / depth
            wave = math.sin(40 * math.log(near + 0.1)) + math.sin(67 * math.log(near + 0.1))
            strip = surface.crop((0, row, self.width, row + 2))
            strip = ImageChops.offset(strip, round(wave * unit * (0.002 + 0.008 * near)), 0)
            self.image.paste(strip, (0, self.foot + row))
        for number in range(200):
            near = random.random() ** 1.5
            x = random.gauss(self.light_x, unit * (0.03 + 0.13 * near) if number % 4 else self.width)
            length, height = unit * random.uniform(0.4, 1.3) * (0.006 + 0.03 * near), unit * (0.0008 + 0.002 * near)
            self.ellipse(x, self.foot + 0.95 * near * depth, length, height, 0.55)

    def shore(self) -> None:
        """The nearest land, in the colour of the caption's ground; a forest has conifers, higher ones at the sides."""
        line = self.crest(self.height, 0.1 * self.unit, 2.5)
        dark, random = min(self.near, mix(self.far, (0, 0, 0), 0.5), key=sum), self.random
        for x, y in line[::4] if self.land == "forest" else ():
            side = abs(2 * x / self.width - 1)
            height = self.unit * random.uniform(0.06, 0.1 + 0.14 * side)
            for tier in range(6 if random.random() < 0.2 + 0.7 * side else 0):
                reach, top = height * (0.05 + 0.03 * tier), y - height * (0.88 - 0.13 * tier)
                self.draw.polygon([(x, top), (x + reach, top + 0.27 * height), (x - reach, top + 0.27 * height)], dark)
        self.draw.polygon([*line, (self.width, self.height), (0, self.height)], self.near)


def mentions(prompt: str, words: str) -> bool:
    """Whether the prompt contains one of the words, also in the plural."""
    return bool(re.search(rf"(?<![a-z])({words.replace(' ', '|')})s?(?![a-z])", prompt.lower()))


def gradient(mode: str, values: Sequence[int | Colour], width: int, height: int) -> Image.Image:
    """The values from top to bottom."""
    column = Image.new(mode, (1, len(values)))
    column.putdata(values)
    return column.resize((width, height), Image.Resampling.BILINEAR, box=(0, 0.4, 1, len(values) - 0.4))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
