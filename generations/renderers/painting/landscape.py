"""Composes a landscape, and paints its sky, its weather and what is in the air."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from random import Random

from PIL import Image, ImageChops

from generations.renderers.painting.brush import WHITE, Layer, clamp, gradient, mix, ramp, soft_noise, toned
from generations.renderers.painting.ridges import Ridge
from generations.renderers.painting.scenes import PALETTES, choose_scene
from generations.renderers.painting.water import Water

BIRD = ((1, 0.42), (0.45, 0.38), (0, 0), (-0.45, 0.38), (-1, 0.42), (-0.42, 0.23), (0, -0.16), (0.42, 0.23))


class Landscape:
    """One picture of a prompt and a seed. Every part draws from a random stream of its own, named after it,
    so the same prompt and seed show the same scene at every size."""

    def __init__(self, prompt: str, seed: int, width: int, height: int, band: int = 0):
        """`band` is the height of a plain band to leave at the bottom, for a caption."""
        self.prompt, self.seed = prompt, seed
        self.width, self.height = width, height
        self.scene = choose_scene(prompt, self.random("scene"))
        self.palette = PALETTES[self.random("palette").choice(self.scene.palettes)]
        self.ground = self.palette.ground(self.scene.snow)
        self.view = height - band
        self.unit = min(self.view, 1.5 * width)
        self.depth = min(0.42 * self.view, 2.5 * width)
        self.horizon = self.view - self.depth
        self.waterline = round(self.horizon + 0.24 * self.depth)
        self.oversampling = 4 if width * height <= 512 * 512 else 2
        self.image = Image.new("RGB", (width, height), self.palette.near)
        self.place_light()

    def random(self, name: str) -> Random:
        """The stream of numbers for one part of the picture."""
        words = f"{self.seed}\0{name}\0{self.prompt}".encode("utf-8", "surrogatepass")
        return Random(int.from_bytes(sha256(words).digest()))

    def layer(self, top: float, bottom: float) -> Layer:
        return Layer(self.image, top, bottom, self.oversampling)

    def place_light(self) -> None:
        """Put the sun or moon off the middle, low by day's end and higher at night."""
        random, night = self.random("light"), self.palette.night
        aside = random.choice((-1, 1)) * random.uniform(0.08, 0.24)
        height = random.uniform(0.34, 0.46) if night else random.uniform(0.06, 0.34)
        self.light_radius = self.unit * random.uniform(0.045, 0.075 if night else 0.13)
        self.light_x = self.width * (0.5 + aside)
        self.light_y = max(self.horizon - self.unit * height, 2 * self.light_radius)

    def paint(self) -> Iterator[int]:
        """Paint stage by stage into `self.image`, yielding the percentage done after each."""
        *behind, shore = self.ridges()
        stages = [self.paint_sky, self.paint_stars, self.paint_light, self.paint_clouds]
        stages += [ridge.paint for ridge in behind]
        if self.scene.water:
            stages.append(Water(self).paint)
        stages += [shore.paint, self.paint_birds, self.paint_weather, self.paint_finish]
        for number, stage in enumerate(stages, start=1):
            stage()
            yield 100 * number // len(stages)

    def ridges(self) -> list[Ridge]:
        """The layers of land, far to near. With water, only the last stands on this side of it."""
        count = 4 if self.scene.water else self.random("ridges").choice((5, 6))
        ridges = [Ridge(self, number, number / (count - 1)) for number in range(count)]
        for ridge, nearer in pairwise(ridges):
            ridge.foot = nearer.base
        return ridges

    # Sky

    def paint_sky(self) -> None:
        bottom = min(self.height, round(self.horizon + 0.35 * self.depth))
        self.image.paste(gradient(self.width, bottom, self.palette.sky))

    def paint_stars(self) -> None:
        if not (self.scene.stars or self.palette.night):
            return
        random = self.random("stars")
        layer = self.layer(0, self.horizon)
        sizes = max(0.5, self.unit / 900)
        for _ in range(min(900, round(220 * self.width * self.horizon / self.unit**2))):
            x, y = random.uniform(0, self.width), self.horizon * random.random() ** 1.4
            fade = 1 - 0.8 * y / self.horizon
            size = sizes * random.choice((0.7, 0.9, 1.2, 1.7))
            layer.dot(x, y, size, round(random.uniform(90, 255) * fade))
        layer.paste(WHITE)

    def paint_light(self) -> None:
        radius, night = self.light_radius, self.palette.night
        strength = 0.45 if night else 0.7
        self.paint_glow(radius * 13, strength * 0.55, 2.2)
        self.paint_glow(radius * 4.5, strength, 2.0)
        layer = self.layer(self.light_y - radius - 2, self.light_y + radius + 2)
        layer.dot(self.light_x, self.light_y, radius)
        if night and self.random("moon").random() < 0.5:
            # A dark disc leaves a crescent.
            layer.dot(self.light_x - radius * 0.55, self.light_y - radius * 0.25, radius * 0.92, 0)
        layer.paste(self.palette.light, 0.35 if self.scene.weather else 0.96)

    def paint_glow(self, radius: float, strength: float, power: float) -> None:
        size = max(2, round(2 * radius))
        # Pillow's radial gradient reaches 180 in the middle of each edge.
        halo = toned(Image.radial_gradient("L"), lambda level: 255 * strength * clamp(1 - level / 180) ** power)
        halo = halo.resize((size, size), Image.Resampling.BICUBIC)
        self.image.paste(self.palette.light, (round(self.light_x - radius), round(self.light_y - radius)), halo)

    def paint_clouds(self) -> None:
        amount, palette = self.scene.clouds, self.palette
        if not amount:
            return
        height = round(self.horizon)
        cloud = soft_noise(self.random("clouds"), self.width, height, self.unit * 0.9, self.unit * 0.16)
        edge = 165 - 55 * amount
        cloud = toned(cloud, lambda level: 200 * amount * clamp((level - edge) / 75) ** 1.3)
        cloud = ImageChops.multiply(cloud, ramp(self.width, height, 255, 255, 60))
        tint = palette.near if self.scene.weather == "rain" else palette.light
        self.image.paste(mix(palette.sky[-2], tint, 0.35 if palette.night else 0.6), (0, 0), cloud)

    # In front

    def paint_birds(self) -> None:
        random = self.random("birds")
        if self.palette.night or self.scene.weather or random.random() < 0.3:
            return
        layer = self.layer(0, self.view)
        x = self.width - self.light_x + self.unit * random.uniform(-0.1, 0.1)
        y = self.horizon - self.unit * random.uniform(0.2, 0.34)
        for number in range(-random.randint(1, 3), random.randint(2, 4)):
            aside, up = 0.045 * number + random.uniform(-0.012, 0.012), random.uniform(-0.03, 0.03)
            span = self.unit * random.uniform(0.009, 0.017)
            layer.shape(BIRD, x + self.unit * aside, y + self.unit * up, span)
        layer.paste(self.palette.near, 0.7)

    def paint_weather(self) -> None:
        match self.scene.weather:
            case "fog":
                self.paint_fog()
            case "snow":
                self.paint_snowfall()
            case "rain":
                self.paint_rain()

    def paint_fog(self) -> None:
        bank = soft_noise(self.random("fog"), self.width, self.view, self.unit * 1.4, self.unit * 0.2)
        bank = toned(bank, lambda level: 150 * clamp((level - 70) / 130))
        shape = ramp(self.width, self.view, 60, 120, 255, 0)
        self.image.paste(self.palette.mist, (0, 0), ImageChops.multiply(bank, shape))

    def paint_snowfall(self) -> None:
        random = self.random("snowfall")
        layer = self.layer(0, self.view)
        for _ in range(min(1200, round(260 * self.width * self.view / self.unit**2))):
            size = self.unit * random.choice((0.0012, 0.0016, 0.0022, 0.0036))
            x, y = random.uniform(0, self.width), random.uniform(0, self.view)
            layer.dot(x, y, max(0.4, size), random.randint(70, 230))
        layer.paste(WHITE, 0.85)

    def paint_rain(self) -> None:
        random = self.random("rain")
        layer = self.layer(0, self.view)
        width = max(0.5, self.unit * 0.0012)
        for _ in range(min(1500, round(420 * self.width * self.view / self.unit**2))):
            x, y = random.uniform(0, 1.1 * self.width), random.uniform(-0.1, 1) * self.view
            length = self.unit * random.uniform(0.02, 0.06)
            slant = 0.22 * length
            drop = [(x, y), (x + width, y), (x + (width - slant), y + length), (x - slant, y + length)]
            layer.polygon(drop, random.randint(30, 110))
        layer.paste(self.palette.mist, 0.6)

    def paint_finish(self) -> None:
        """A vignette and a film grain, which also hides the steps of the 8-bit gradients."""
        size = self.image.size
        dark = toned(Image.radial_gradient("L"), lambda level: 90 * clamp((level - 120) / 135) ** 1.6)
        self.image.paste(self.palette.near, (0, 0), dark.resize(size, Image.Resampling.BICUBIC))
        random = self.random("grain")
        grains = [Image.frombytes("L", size, random.randbytes(self.width * self.height)) for _ in range(2)]
        grain = toned(ImageChops.add(*grains, scale=2), lambda level: (level - 128) / 26 + 8)
        self.image = ImageChops.add(self.image, Image.merge("RGB", (grain,) * 3), offset=-8)
