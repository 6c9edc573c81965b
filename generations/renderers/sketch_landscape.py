"""Draws a landscape for a prompt and a seed."""

import math
from collections.abc import Iterable, Sequence
from random import Random

from PIL import Image, ImageColor, ImageDraw

from generations.renderers.base import RenderRequest
from generations.renderers.sketch_scenes import (
    BOAT,
    LIGHTHOUSE,
    LIGHTHOUSE_BANDS,
    NIGHT,
    PALETTES,
    Colour,
    Point,
    choose_scene,
)

COLUMNS = 320
"""Points of a ridge, whatever the width of the picture."""


class Landscape:
    def __init__(self, request: RenderRequest, view: int):
        """`view` is the height of the landscape; the rest, at the bottom, is for the caption."""
        self.random = random = Random(f"{request.definite_seed} {request.prompt}".encode("utf-8", "surrogatepass"))
        self.scene = choose_scene(request.prompt, random)
        *self.colours, self.light, self.far, self.near = map(ImageColor.getrgb, PALETTES[self.scene["palette"]])
        self.mist = self.colours[-1]
        self.ground = mix(self.mist, self.near, 0.04) if self.scene["snow"] else self.near
        self.width, self.height = request.width, view
        self.unit = min(view, 1.5 * request.width)
        self.horizon = view - min(0.4 * view, 1.6 * request.width)
        self.waterline = round(self.horizon + 0.25 * (view - self.horizon))
        self.scale = 4 if request.width * request.height <= 700 * 700 else 2
        self.image = Image.new("RGB", (request.width, request.height), self.ground)
        self.night = self.scene["palette"] in NIGHT
        self.light_x = self.width * random.choice((random.uniform(0.2, 0.42), random.uniform(0.58, 0.8)))
        self.light_y = self.horizon - self.unit * random.uniform(0.24, 0.4)
        self.radius = self.unit * random.uniform(0.045, 0.07)

    def fill(self, polygons: Iterable[Sequence[Point]], fill: Colour | Image.Image, opacity: float = 1) -> None:
        """Fill polygons with smooth edges: they are drawn enlarged and then reduced."""
        polygons = list(polygons)
        heights = [y for polygon in polygons for _, y in polygon]
        if not heights:
            return
        top, bottom = max(0, math.floor(min(heights))), min(self.height, math.ceil(max(heights)))
        if top >= bottom:
            return
        mask = Image.new("L", (self.width * self.scale, (bottom - top) * self.scale))
        draw = ImageDraw.Draw(mask)
        for polygon in polygons:
            draw.polygon([(x * self.scale, (y - top) * self.scale) for x, y in polygon], fill=round(255 * opacity))
        if isinstance(fill, Image.Image):
            fill = fill.resize((self.width, bottom - top))
        self.image.paste(fill, (0, top, self.width, bottom), mask.reduce(self.scale))

    def shape(self, polygons: Iterable[Sequence[Point]], x: float, y: float, size: float, colour: Colour) -> None:
        self.fill([[(x + size * right, y - size * up) for right, up in polygon] for polygon in polygons], colour)

    def sky(self) -> None:
        random = self.random
        horizon = math.ceil(self.horizon + 0.1 * self.unit)
        self.image.paste(gradient(self.colours).resize((self.width, horizon)))
        if self.night:
            for brightness in (0.35, 0.6, 0.95):
                spots = [(random.uniform(0, self.width), random.random() ** 1.5 * self.horizon) for _ in range(50)]
                radius = max(0.5, 0.0022 * self.unit * brightness)
                self.fill([ellipse(x, y, radius, radius, 8) for x, y in spots], self.light, brightness)
        self.glow(self.light_x, self.light_y, 9 * self.radius, 0.55)
        self.fill([ellipse(self.light_x, self.light_y, self.radius, self.radius, 180)], self.light)
        self.clouds()

    def glow(self, x: float, y: float, radius: float, opacity: float) -> None:
        size = max(2, round(2 * radius))
        mask = Image.radial_gradient("L").point([round(opacity * max(0, 1 - v / 180) ** 2 * 255) for v in range(256)])
        self.image.paste(self.light, (round(x - radius), round(y - radius)), mask.resize((size, size)))

    def clouds(self) -> None:
        cover, height = self.random.choice((0.4, 0.47, 0.55)), math.ceil(self.horizon)
        total = Image.new("L", (512, 256))
        for octave in range(5):
            size = (4 * 2**octave + 2, 7 * 2**octave + 2)
            noise = Image.frombytes("L", size, self.random.randbytes(size[0] * size[1]))
            share = 1 / (octave + 1.4) if octave else 1
            total = Image.blend(total, noise.resize(total.size, Image.Resampling.BICUBIC), share)
        mask = total.point([round(max(0, min(1, (v / 255 - 1 + cover) * 4)) * 95) for v in range(256)])
        mask = mask.resize((self.width, height), Image.Resampling.BICUBIC)
        self.image.paste(mix(self.mist, self.light, 0.3), (0, 0), mask)

    def crest(self, base: float, height: float, cells: float, sharp: bool, octaves: int = 6) -> list[Point]:
        """A ridge line of fractal noise; sharp noise is folded into peaks."""
        heights = [0.0] * (COLUMNS + 1)
        weight = 1.0
        for _ in range(octaves):
            values = [self.random.random() for _ in range(math.ceil(cells) + 3)]
            offset = self.random.random()
            for column in range(COLUMNS + 1):
                index, part = divmod(offset + cells * column / COLUMNS, 1)
                part = part * part * (3 - 2 * part)
                value = values[int(index)] * (1 - part) + values[int(index) + 1] * part
                heights[column] += weight * (1 - abs(2 * value - 1) if sharp else value)
            weight, cells = weight * 0.45, cells * 2
        return [(self.width * i / COLUMNS, base - height * value / 1.8) for i, value in enumerate(heights)]

    def land(self) -> None:
        """Draw ridges from far to near, each darker than the one before."""
        land = self.scene["land"]
        bottom = self.height if not self.scene["water"] else self.waterline
        count = 5 if bottom == self.height else 4
        aspect = self.width / self.unit
        for number in range(count):
            near = number / (count - 1)
            base = self.horizon + (bottom - self.horizon) * near**1.3 * 0.8
            colour = mix(self.far, self.near, near * (0.75 if self.scene["water"] else 0.9))
            if self.scene["snow"]:
                colour = mix(mix(self.far, self.near, 0.12), self.ground, near)
            if land == "city" and number > 0:
                self.buildings(base, near, colour, bottom)
                continue
            height = {"mountains": 0.42 - 0.25 * near, "dunes": 0.2, "city": 0.16}.get(land, 0.22) * self.unit
            cells = {"mountains": 2.6, "dunes": 1.2}.get(land, 1.8) * aspect * (1 + 0.3 * number)
            octaves = {"mountains": 6, "dunes": 2}.get(land, 5)
            crest = self.crest(base, height, cells, land in ("mountains", "dunes"), octaves)
            haze = gradient([colour, mix(colour, self.mist, 0.12), mix(colour, self.mist, 0.4)])
            self.fill([[*crest, (self.width, bottom), (0, bottom)]], haze)
            if land == "mountains":
                self.fill(self.shadows(crest), mix(colour, self.near, 0.4), 0.6)

    def shadows(self, crest: list[Point]) -> Iterable[Sequence[Point]]:
        """The slope of each peak that faces away from the light."""
        reach = 6
        for peak in range(reach, COLUMNS - reach):
            if crest[peak][1] > min(y for _, y in crest[peak - reach : peak + reach + 1]):
                continue
            away = 1 if crest[peak][0] > self.light_x else -1
            end = peak
            while reach < end < COLUMNS - reach and crest[end][1] <= crest[end + away * reach][1] + 0.002 * self.unit:
                end += away
            (x, y), drop = crest[peak], crest[end][1] - crest[peak][1]
            if drop < 0.02 * self.unit:
                continue
            lean = self.random.uniform(0, 0.4) * away
            wobble = [self.random.uniform(-0.12, 0.12) for _ in range(6)]
            spine = [(x + drop * (lean + wobble[i]) * i / 3, y + 1.6 * drop * i / 5) for i in range(5, 0, -1)]
            yield [*(crest[i] for i in range(peak, end, away)), *spine]

    def buildings(self, base: float, near: float, colour: Colour, bottom: float) -> None:
        random, unit = self.random, self.unit
        towers, windows, x = [], [], -0.05 * unit
        while x < self.width:
            width = unit * random.uniform(0.035, 0.08)
            height = unit * (0.06 + 0.34 * random.random() ** 2) * (1.1 - 0.4 * near)
            towers.append(box(x, base - height, width, bottom - base + height))
            if height > 0.2 * unit:
                towers.append(box(x + 0.45 * width, base - 1.2 * height, 0.06 * width, 0.2 * height))
            pane = 0.0052 * unit
            for column in range(int(width / pane / 2.4) - 1):
                for row in range(int((height + bottom - base) / pane / 3) - 1):
                    if random.random() < 0.25:
                        left, top = x + pane * (1.6 + 2.4 * column), base - height + pane * (2 + 3 * row)
                        windows.append(box(left, top, pane, 1.4 * pane))
            x += width * random.uniform(0.85, 1.4)
        self.fill(towers, gradient([colour, mix(colour, self.mist, 0.3)]))
        self.fill(windows, mix(self.light, (255, 190, 90), 0.5), 0.3 + 0.6 * near)

    def water(self) -> None:
        """Draw the reflection of land and sky, darker, with ripples and a path of light."""
        if not self.scene["water"]:
            return
        random, top, depth = self.random, self.waterline, self.height - self.waterline
        above = self.image.crop((0, top - depth, self.width, top)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        deep = mix(self.colours[0], self.near, 0.5)
        surface = Image.blend(above, gradient([self.mist, deep]).resize(above.size), 0.38)
        waves, position = [random.uniform(-1, 1) for _ in range(400)], 0.0
        for row in range(depth):
            near = row / depth
            position += 1 / max(1.5, self.unit * (0.004 + 0.014 * near))
            index, part = divmod(position, 1)
            wave = waves[int(index) % 400] * (1 - part) + waves[int(index + 1) % 400] * part
            shift = round(wave * self.unit * (0.003 + 0.016 * near))
            strip = surface.crop((0, row, self.width, row + 1))
            self.image.paste(strip, (0, top + row))
            self.image.paste(strip, (shift, top + row))
        glitter = []
        for number in range(200):
            near = random.random() ** 1.5
            x = random.gauss(self.light_x, self.width if number % 4 == 0 else self.radius * (0.5 + 2.2 * near))
            length = self.unit * (0.006 + 0.03 * near) * random.uniform(0.4, 1.3)
            glitter.append(ellipse(x, top + 2 + near * depth, length, max(0.35, self.unit * (0.0008 + 0.002 * near))))
        self.fill(glitter, self.light, 0.55)
        if self.scene["boat"]:
            x = self.width - self.light_x
            self.shape(BOAT, x, top + 0.3 * depth, 0.08 * self.unit, mix(self.near, self.mist, 0.08))

    def shore(self) -> None:
        """Draw the nearest land, in the colour of the caption's ground, with trees or a lighthouse."""
        side = 1 if self.light_x < self.width / 2 else -1
        height = self.unit * (0.09 if self.scene["water"] else 0.12)
        line = self.crest(self.height, height, 2.5 * self.width / self.unit, sharp=False)
        rise = [max(0.0, side * (2 * x / self.width - 1)) ** 2 for x, _ in line]
        line = [(x, y - 0.1 * self.unit * up + 0.02 * self.unit) for (x, y), up in zip(line, rise, strict=True)]
        dark = mix(self.near, self.ground, 0.06)
        if self.scene["trees"] and self.scene["land"] != "dunes":
            self.fill(self.trees(line), dark)
        if self.scene["lighthouse"]:
            x, y = line[round(COLUMNS * (0.5 + 0.3 * side))]
            size = 0.42 * self.unit
            self.shape(LIGHTHOUSE, x, y, size, dark)
            self.shape(LIGHTHOUSE_BANDS, x, y, size, mix(self.near, self.mist, 0.55))
            lamp, end = y - 0.865 * size, x - side * self.width
            beam = [(x, lamp), (end, lamp - 0.16 * self.unit), (end, lamp + 0.04 * self.unit)]
            self.fill([beam], self.light, 0.22)
            self.glow(x, lamp, 0.22 * size, 1)
        self.fill([[*line, (self.width, self.height), (0, self.height)]], self.ground)

    def trees(self, line: list[Point]) -> Iterable[Sequence[Point]]:
        """Conifers of six tiers, more and higher ones at the sides, to frame the view."""
        random, x = self.random, 0.0
        while x < self.width:
            side = abs(2 * x / self.width - 1)
            height = self.unit * random.uniform(0.06, 0.1 + 0.14 * side)
            if random.random() < self.scene["trees"] + 0.8 * side**1.5:
                foot = line[round(COLUMNS * x / self.width)][1] + 0.05 * height
                for tier in range(6):
                    reach = height * (0.05 + 0.03 * tier) * random.uniform(0.8, 1.15)
                    top = foot - height * (1 - 0.13 * tier)
                    yield [(x, top), (x + reach, top + 0.27 * height), (x - reach, top + 0.27 * height)]
            x += self.unit * random.uniform(0.015, 0.05)


def box(x: float, y: float, width: float, height: float) -> Sequence[Point]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def ellipse(x: float, y: float, width: float, height: float, corners: int = 24) -> Sequence[Point]:
    angles = [2 * math.pi * corner / corners for corner in range(corners)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


def gradient(colours: Sequence[Colour]) -> Image.Image:
    """The colours from top to bottom, one pixel wide, to be resized."""
    image = Image.new("RGB", (1, 256))
    for y in range(256):
        index, part = divmod(y / 256 * (len(colours) - 1), 1)
        image.putpixel((0, y), mix(colours[int(index)], colours[int(index) + 1], part))
    return image


def mix(one: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
