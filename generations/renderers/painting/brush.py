"""What the pictures are painted with: colours, masks, gradients, noise and layers with smooth edges."""

import math
from collections.abc import Callable, Sequence
from random import Random

from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)


class Layer:
    """A mask across the picture between two heights, drawn larger than it is pasted to smooth its edges."""

    def __init__(self, image: Image.Image, top: float, bottom: float, scale: int):
        self.image, self.scale = image, scale
        self.top = max(0, math.floor(top))
        self.bottom = max(self.top + 1, min(image.height, math.ceil(bottom)))
        self.width, self.height = image.width, self.bottom - self.top
        self.canvas = Image.new("L", (self.width * scale, self.height * scale))
        self.draw = ImageDraw.Draw(self.canvas)

    def polygon(self, points: Sequence[Point], fill: int = 255) -> None:
        self.draw.polygon([(x * self.scale, (y - self.top) * self.scale) for x, y in points], fill=fill)

    def shape(self, points: Sequence[Point], x: float, y: float, size: float) -> None:
        """A polygon whose points say how far aside and up they are, in sizes."""
        self.polygon([(x + size * aside, y - size * up) for aside, up in points])

    def box(self, x: float, y: float, width: float, height: float, fill: int = 255) -> None:
        self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], fill)

    def dot(self, x: float, y: float, radius: float, fill: int = 255) -> None:
        x, y, radius = x * self.scale, (y - self.top) * self.scale, radius * self.scale
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def mask(self) -> Image.Image:
        """What is drawn so far, at the size of the picture."""
        return self.canvas.reduce(self.scale)

    def paste(self, fill: Colour | Image.Image, opacity: float = 1, within: Image.Image | None = None) -> None:
        mask = self.mask()
        if within is not None:
            mask = ImageChops.multiply(mask, within)
        if opacity < 1:
            mask = toned(mask, lambda level: level * opacity)
        self.image.paste(fill, (0, self.top, self.width, self.bottom), mask)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


def clamp(value: float, low: float = 0, high: float = 1) -> float:
    return min(high, max(low, value))


def gradient(width: int, height: int, colours: Sequence[Colour]) -> Image.Image:
    """The colours from top to bottom, evenly spaced."""
    spans = len(colours) - 1
    pixels = []
    for y in range(height):
        position = spans * y / max(1, height - 1)
        index = min(spans - 1, int(position))
        pixels.append(mix(colours[index], colours[index + 1], position - index))
    column = Image.new("RGB", (1, height))
    column.putdata(pixels)
    return column.resize((width, height), Image.Resampling.NEAREST)


def ramp(width: int, height: int, *levels: int) -> Image.Image:
    """A mask with the levels from top to bottom, evenly spaced."""
    return gradient(width, height, [(level,) * 3 for level in levels]).convert("L")


def toned(mask: Image.Image, tone: Callable[[int], float]) -> Image.Image:
    return mask.point([round(tone(level)) for level in range(256)])


def noise(random: Random, cells: float) -> Callable[[float], float]:
    """A smooth random curve through values between 0 and 1, one for each cell. Past its end it stays level."""
    values = [random.random() for _ in range(math.ceil(cells) + 3)]

    def at(position: float) -> float:
        index = min(len(values) - 2, int(position))
        part = min(1.0, position - index)
        return values[index] + (values[index + 1] - values[index]) * part * part * (3 - 2 * part)

    return at


def fractal(random: Random, count: int, cells: float, octaves: int, sharp: bool = False) -> list[float]:
    """Heights between 0 and 1: ever finer noise on coarser noise. Sharp noise is folded into crests."""
    heights, weight, total = [0.0] * count, 1.0, 0.0
    for _ in range(octaves):
        curve, offset = noise(random, cells + 1), random.random()
        for index in range(count):
            value = curve(offset + cells * index / count)
            heights[index] += weight * (1 - abs(2 * value - 1) if sharp else value)
        total += weight
        weight, cells = weight * 0.47, cells * 2
    return [height / total for height in heights]


def soft_noise(random: Random, width: int, height: int, across: float, down: float) -> Image.Image:
    """Cloudy noise with features about `across` wide and `down` high, soft enough to be made at half the size."""
    size = (max(1, width // 2), max(1, height // 2))
    total = Image.new("L", size)
    for octave in range(4):
        columns = min(size[0], math.ceil(width / across * 2**octave)) + 2
        rows = min(size[1], math.ceil(height / down * 2**octave)) + 2
        values = Image.frombytes("L", (columns, rows), random.randbytes(columns * rows))
        share = 1 / (octave + 2) if octave else 1
        total = Image.blend(total, values.resize(size, Image.Resampling.BICUBIC), share)
    return total.resize((width, height), Image.Resampling.BICUBIC)
