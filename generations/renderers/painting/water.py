"""The water of a landscape, with what it mirrors, its glitter and a boat."""

from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter

from generations.renderers.painting.brush import clamp, gradient, mix, noise

if TYPE_CHECKING:
    from generations.renderers.painting.landscape import Landscape

HULL = ((-0.5, 0.1), (0.55, 0.12), (0.36, 0), (-0.4, 0))
MAINSAIL = ((0, 1.1), (0, 0.17), (0.45, 0.19))
FORESAIL = ((-0.05, 0.9), (-0.05, 0.16), (-0.38, 0.16))


class Water:
    def __init__(self, landscape: "Landscape"):
        self.landscape = landscape
        self.random = landscape.random("water")
        self.top = landscape.waterline
        self.depth = landscape.view - landscape.waterline

    def paint(self) -> None:
        self.paint_surface()
        self.paint_glitter()
        if self.landscape.scene.boat:
            self.paint_boat()

    def paint_surface(self) -> None:
        """What stands above the water upside down, tinted and rippled."""
        image, palette = self.landscape.image, self.landscape.palette
        above = image.crop((0, self.top - self.depth, image.width, self.top))
        mirrored = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        deep = mix(palette.sky[0], palette.near, 0.5)
        water = Image.blend(mirrored, gradient(image.width, self.depth, (palette.mist, deep)), 0.3)
        water = Image.blend(water, Image.new("RGB", water.size, deep), 0.16)
        image.paste(rippled(water, self.random, self.landscape.unit), (0, self.top))

    def paint_glitter(self) -> None:
        """Bright lenses: a path of light under the sun, and every fourth one anywhere, fainter."""
        landscape, random = self.landscape, self.random
        layer = landscape.layer(self.top, landscape.view)
        for number in range(260):
            scattered = number % 4 == 0
            near = random.random() ** 1.5
            spread = landscape.width if scattered else landscape.light_radius * (0.5 + 2.4 * near)
            x, y = random.gauss(landscape.light_x, spread), self.top + 1 + near * (self.depth - 2)
            length = landscape.unit * (0.006 + 0.03 * near) * random.uniform(0.4, 1.3)
            thickness = max(0.35, landscape.unit * (0.0008 + 0.0022 * near))
            strength = random.uniform(20, 70) if scattered else random.uniform(90, 220)
            lens = [(x - length, y), (x, y - thickness), (x + length, y), (x, y + thickness)]
            layer.polygon(lens, round(strength))
        layer.paste(landscape.palette.light, 0.75)

    def paint_boat(self) -> None:
        landscape, random = self.landscape, self.random
        layer = landscape.layer(self.top - 0.2 * landscape.unit, landscape.view)
        x = landscape.width - landscape.light_x + landscape.unit * random.uniform(-0.1, 0.1)
        y = self.top + self.depth * random.uniform(0.12, 0.3)
        size = landscape.unit * random.uniform(0.05, 0.075)
        for part in (HULL, MAINSAIL, FORESAIL):
            layer.shape(part, x, y, size)
        layer.paste(mix(landscape.palette.near, landscape.palette.mist, 0.08))


def rippled(water: Image.Image, random: Random, unit: float) -> Image.Image:
    """Shift the rows sideways and along, more and in longer waves the nearer they are."""
    source, width = water.filter(ImageFilter.BoxBlur((unit * 0.001, unit * 0.004))), water.width
    result = source.copy()
    wave, position = noise(random, water.height), 0.0
    for row in range(water.height):
        near = row / water.height
        position += 1 / max(1.6, unit * (0.003 + 0.012 * near))
        swing = wave(position) - 0.5
        shift = round(unit * swing * (0.006 + 0.03 * near))
        line = round(clamp(row + unit * swing * 0.03 * near, 0, water.height - 1))
        strip = source.crop((max(0, shift), line, min(width, width + shift), line + 1))
        result.paste(strip, (max(0, -shift), row))
    return result
