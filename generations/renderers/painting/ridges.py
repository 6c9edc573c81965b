"""The land: ridges one behind the other, with their snow, shade, trees and buildings."""

import math
from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from generations.renderers.painting.brush import Layer, Point, clamp, fractal, gradient, mix, noise, ramp

if TYPE_CHECKING:
    from generations.renderers.painting.landscape import Landscape

RELIEF = {"mountains": 0.42, "hills": 0.16, "dunes": 0.17, "skyline": 0.03}
"""How far the land rises at the horizon, as a share of the picture's unit."""

LAMPLIGHT = (255, 196, 110)


class Ridge:
    """One layer of land. `nearness` runs from 0 at the horizon to 1 in front; mist is thickest at `foot`."""

    def __init__(self, landscape: "Landscape", number: int, nearness: float):
        self.landscape, self.nearness = landscape, nearness
        self.land = landscape.scene.land
        self.random = landscape.random(f"ridge {number}")
        self.shore = nearness == 1
        self.base = self.place_base()
        self.foot: float = landscape.height
        self.step = max(1, landscape.width // 1024)
        aside = self.step * math.ceil((0.5 * landscape.unit + 2) / self.step)
        self.columns = range(-aside, landscape.width + aside, self.step)
        self.reach = max(2, round(0.03 * landscape.unit / self.step))
        self.crest = self.raise_crest()
        palette = landscape.palette
        self.colour = landscape.ground if self.shore else mix(palette.far, palette.near, nearness**1.15)
        self.haze = mix(self.colour, palette.mist, 0.62 * (1 - 0.55 * nearness))

    def place_base(self) -> float:
        landscape = self.landscape
        if self.shore:
            return landscape.view
        if landscape.scene.water:
            return landscape.waterline - 0.02 * landscape.depth * (1 - self.nearness)
        return landscape.horizon + landscape.depth * (0.12 + 0.75 * self.nearness**1.25)

    def raise_crest(self) -> list[float]:
        """The height of the land at each column, in pixels from the top."""
        rugged = self.land == "mountains" and self.nearness < 0.75
        unit, count = self.landscape.unit, len(self.columns)
        relief = unit * RELIEF[self.land] * (1 - 0.62 * self.nearness)
        if self.shore:
            relief = unit * (0.06 if self.land == "skyline" else 0.12)
        cells = count * self.step / (unit * (0.6 if rugged else 0.85))
        octaves = 1 if self.land in ("dunes", "skyline") else 7 if rugged else 4
        heights = fractal(self.random, count, cells, octaves, sharp=rugged or self.land == "dunes")
        return [self.base - relief * height for height in heights]

    @property
    def outline(self) -> list[Point]:
        return list(zip(self.columns, self.crest, strict=True))

    def paint(self) -> None:
        landscape, scene = self.landscape, self.landscape.scene
        bottom = landscape.waterline if scene.water and not self.shore else landscape.height
        layer = landscape.layer(min(self.crest) - 2, bottom)
        layer.polygon([*self.outline, (self.columns[-1], bottom), (self.columns[0], bottom)])
        layer.paste(self.shading(layer))
        if self.land in ("mountains", "dunes") and not self.shore:
            self.paint_slopes(layer)
        if self.land == "skyline" and not self.shore:
            self.paint_buildings(bottom)
        if self.land in ("mountains", "hills") and self.nearness > (0.45 if scene.trees == 1 else 0.7):
            self.paint_trees(bottom)

    def shading(self, layer: Layer) -> Image.Image:
        """The colour of the land at its crest, thinning out into the mist at its foot."""
        if self.shore:
            crest = mix(self.colour, self.haze, 0.07)
            return gradient(layer.width, layer.height, (crest, self.colour, self.colour))
        upper = round(min(self.crest) - layer.top)
        lower = max(upper + 2, min(layer.height, round(self.foot - layer.top)))
        image = Image.new("RGB", (layer.width, layer.height), self.haze)
        image.paste(self.colour, (0, 0, layer.width, upper))
        shades = (self.colour, mix(self.colour, self.haze, 0.4), self.haze)
        image.paste(gradient(layer.width, lower - upper, shades), (0, upper))
        return image

    # Snow and shade

    def paint_slopes(self, layer: Layer) -> None:
        """Snow on the heights, and a dark side on each peak away from the light."""
        landscape, palette = self.landscape, self.landscape.palette
        land = layer.mask()
        if self.land == "mountains" and self.nearness < (0.45 if landscape.scene.snow else 0.3):
            snow = landscape.layer(layer.top, layer.bottom)
            snow.polygon(self.snowfield())
            snow.paste(mix(palette.light, self.colour, 0.2), 0.8, within=land)
        if self.nearness < 0.7:
            shade = landscape.layer(layer.top, layer.bottom)
            for peak in self.peaks():
                self.shade_peak(shade, peak)
            strength = 0.4 if self.land == "dunes" else 0.6
            within = ImageChops.multiply(land, self.falloff(layer))
            shade.paste(mix(self.colour, palette.near, 0.5), strength, within)

    def snowfield(self) -> list[Point]:
        """What lies above a ragged snow line."""
        landscape, top = self.landscape, min(self.crest)
        line, ragged = (0.4, 0.5) if landscape.scene.snow else (0.3, 0.3)
        jags = fractal(self.random, len(self.crest), 14 * landscape.width / landscape.unit, octaves=4)
        edge = [top + (self.base - top) * (line + ragged * (jag - 0.5)) for jag in jags]
        lower = [(x, max(y, limit)) for (x, y), limit in zip(self.outline, edge, strict=True)]
        return [*self.outline, *reversed(lower)]

    def falloff(self, layer: Layer) -> Image.Image:
        """Full at the crest, nothing in the mist: shade does not reach down into it."""
        top = round(min(self.crest)) - layer.top
        height = max(2, min(layer.height - top, round(0.8 * (self.foot - min(self.crest)))))
        mask = Image.new("L", (layer.width, layer.height))
        mask.paste(255, (0, 0, layer.width, top))
        mask.paste(ramp(layer.width, height, 255, 170, 0), (0, top))
        return mask

    def peaks(self) -> list[int]:
        """The columns where the crest stands highest for a way on both sides."""
        inner = range(self.reach, len(self.crest) - self.reach)
        return [index for index in inner if self.crest[index] == min(self.surroundings(index))]

    def surroundings(self, index: int) -> list[float]:
        return self.crest[max(0, index - self.reach) : index + self.reach + 1]

    def shade_peak(self, layer: Layer, peak: int) -> None:
        """Darken from the peak along the crest to the valley on its dark side and back up a crooked spine."""
        away = 1 if self.columns[peak] > self.landscape.light_x else -1
        end = peak + away
        while 0 < end < len(self.crest) - 1 and self.crest[end] < max(self.surroundings(end)):
            end += away
        drop = self.crest[end] - self.crest[peak]
        if drop < 0.025 * self.landscape.unit:
            return
        slope = [(self.columns[index], self.crest[index]) for index in range(peak, end + away, away)]
        lean = self.random.uniform(-0.1, 0.35) * away
        spine = self.spine(*slope[0], drop * (3 if self.land == "dunes" else 1.6), lean)
        edge = [] if self.land == "dunes" else self.torn(slope[-1], spine[0])
        layer.polygon([*slope, *edge, *spine])

    def spine(self, x: float, y: float, drop: float, lean: float) -> list[Point]:
        """A crooked line from far below the peak at x and y up to just under it."""
        parts = (1, 0.8, 0.6, 0.4, 0.2)
        wobble = 0.02 if self.land == "dunes" else 0.07
        bends = [lean * part + self.random.uniform(-wobble, wobble) for part in parts]
        return [(x + drop * bend, y + drop * part) for part, bend in zip(parts, bends, strict=True)]

    def torn(self, start: Point, end: Point) -> list[Point]:
        """Points that make the edge from start to end a ragged one."""
        (left, high), (right, low), parts = start, end, 7
        across, down, tooth = (right - left) / parts, (low - high) / parts, 0.16 * abs(right - left)
        ragged = [tooth * self.random.uniform(-0.7, 1) * (part % 2) for part in range(parts)]
        return [(left + across * part, high + down * part + ragged[part - 1]) for part in range(1, parts)]

    # What stands on the land

    def paint_trees(self, bottom: float) -> None:
        """Conifers in clumps, denser towards the sides, so that they frame the view."""
        landscape, random = self.landscape, self.random
        size = max(1, landscape.unit * (0.025 + 0.12 * self.nearness**2.5))
        layer = landscape.layer(min(self.crest) - 2 * size, bottom)
        clumps = noise(random, landscape.width / landscape.unit * 6 + 2)
        x = -size
        while x < landscape.width + size:
            side = abs(2 * x / landscape.width - 1)
            thicket = 0.7 * clumps(6 * max(0, x) / landscape.unit) + 0.55 * side + 0.35 * landscape.scene.trees
            if thicket > 0.8:
                height = size * random.uniform(0.4, 1.1) * clamp(thicket, 0.7, 1.35)
                index = round((x - self.columns[0]) / self.step)
                draw_conifer(layer, x, self.crest[index] + 0.09 * height, height, random)
            x += size * random.uniform(0.12, 0.4)
        layer.paste(mix(self.colour, landscape.palette.near, 0.9 if self.shore else 0.25))

    def paint_buildings(self, bottom: float) -> None:
        landscape, random, unit = self.landscape, self.random, self.landscape.unit
        houses = landscape.layer(self.base - 0.4 * unit, bottom)
        windows = landscape.layer(houses.top, houses.bottom)
        x = -0.05 * unit
        while x < landscape.width:
            width = unit * random.uniform(0.03, 0.075)
            height = unit * (0.06 + 0.27 * random.random() ** 2.2) * (1 - 0.25 * self.nearness)
            houses.box(x, self.base - height, width, landscape.height)
            if height > 0.2 * unit:
                mast = 0.06 * width
                houses.box(x + width * 0.45, self.base - height * 1.15, mast, height * 0.2)
            if self.nearness > 0.2:
                self.light_windows(windows, x, width, height)
            x += width * random.uniform(0.85, 1.3)
        houses.paste(self.shading(houses))
        windows.paste(mix(landscape.palette.light, LAMPLIGHT, 0.5), 0.35 + 0.5 * self.nearness)

    def light_windows(self, layer: Layer, x: float, width: float, height: float) -> None:
        pane = self.landscape.unit * 0.0045
        for column in range(int(width / pane / 2.4) - 1):
            for row in range(int(height / pane / 3) - 1):
                if self.random.random() < 0.22:
                    left, top = x + pane * (1.7 + 2.4 * column), self.base - height + pane * (2 + 3 * row)
                    layer.box(left, top, pane, pane * 1.4, self.random.randint(120, 255))


def draw_conifer(layer: Layer, x: float, foot: float, height: float, random: Random) -> None:
    left, right = [], []
    for tier in range(1, 7):
        y, reach = foot - height * (1 - 0.94 * tier / 6), height * tier / 30
        left += [(x - reach * random.uniform(0.75, 1.15), y), (x - reach * 0.5, y - height * 0.02)]
        right += [(x + reach * random.uniform(0.75, 1.15), y), (x + reach * 0.5, y - height * 0.02)]
    layer.polygon([(x, foot - height), *left, *reversed(right)])
    layer.box(x - 0.02 * height, foot - 0.08 * height, 0.04 * height, 0.1 * height)
