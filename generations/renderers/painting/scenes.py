"""What a picture shows, in which colours: drawn at random, then steered by the words of the prompt."""

import re
from dataclasses import dataclass, replace
from random import Random

from PIL import ImageColor

from generations.renderers.painting.brush import Colour, mix


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one mood: the sky from its top to the horizon, the sun or moon, far and near land."""

    sky: tuple[Colour, ...]
    light: Colour
    far: Colour
    near: Colour
    night: bool

    @property
    def mist(self) -> Colour:
        return self.sky[-1]

    def ground(self, snow: bool) -> Colour:
        """The colour of the land in front, on which a caption is written: snow, or the nearest hill's."""
        if not snow:
            return self.near
        return mix(self.mist, self.near, 0.55 if self.night else 0.04)


def palette(sky: str, light: str, far: str, near: str, night: bool = False) -> Palette:
    colour = ImageColor.getrgb
    return Palette(tuple(colour(part) for part in sky.split()), colour(light), colour(far), colour(near), night)


PALETTES = {
    "ember": palette("#2b1d4e #8a3a6b #e8735a #ffc98b", "#fff0c9", "#bd6070", "#1d1030"),
    "canyon": palette("#6f2a3c #c4533f #f29b57 #ffdf9f", "#fff3cf", "#cf7350", "#2e0f16"),
    "apricot": palette("#5b7fa6 #a9b8c4 #f3cfb0 #ffe6c4", "#fffaf0", "#c7a39c", "#352b3c"),
    "rose": palette("#666ba6 #b08cb8 #f0b3b6 #ffe0cf", "#fff6ea", "#bb8aa8", "#2f1d3d"),
    "gold": palette("#b0764a #dda25a #f5cf7c #fff2c2", "#fffbe6", "#d3a066", "#33190f"),
    "noon": palette("#2f7fc1 #6db3e2 #b5ddf0 #eef7f2", "#fffdf0", "#8fbdd0", "#123c4c"),
    "meadow": palette("#4f9fb8 #95cfc9 #d9ecc8 #f9f3cf", "#fffbe0", "#9cc7a9", "#12352a"),
    "mint": palette("#173a58 #2f7480 #8fc7a9 #fbe8b2", "#fff6d5", "#5d9a8f", "#0a2230"),
    "dune": palette("#3f8fb0 #8fc4c4 #f2dfb4 #fbe9c6", "#fffbe8", "#deae79", "#57220f"),
    "frost": palette("#6f9cc2 #a9c9e0 #dbe8f2 #f8fafc", "#ffffff", "#b3cadd", "#1d3a56"),
    "lilac frost": palette("#6b74ad #a9a9d6 #e6cfe0 #fdeee6", "#fffaf5", "#b3aed2", "#262a52"),
    "storm": palette("#20262e #3f4a57 #6f7f8a #b3b8b2", "#e8e6d8", "#68767e", "#0e1418"),
    "fog": palette("#93a4a6 #b3c0be #d3dad4 #ecefe6", "#fffdf4", "#b0bfbb", "#1c2b2b"),
    "midnight": palette("#060b1f #0f1f45 #27467a #6787ab", "#f4f1e4", "#40608c", "#050a16", night=True),
    "violet": palette("#0d0721 #2a1650 #5b3585 #b377a8", "#fbeee0", "#5c3f88", "#0b0618", night=True),
    "lagoon": palette("#03141c #07303a #145a5f #5fa393", "#eefaf0", "#2e6f72", "#02100f", night=True),
    "neon": palette("#0b0a2a #3b1466 #b0267c #ff8a5b", "#ffe3b8", "#5d1d78", "#07061a", night=True),
}
DARK = ("midnight", "violet", "lagoon")
WARM = ("ember", "canyon", "rose", "gold", "apricot")
COLD = ("frost", "lilac frost")


@dataclass(frozen=True, slots=True)
class Scene:
    """What the picture shows. Densities (trees, clouds) run from 0 to 1."""

    palettes: tuple[str, ...]
    land: str
    water: bool
    boat: bool
    trees: float
    clouds: float
    weather: str = ""
    snow: bool = False
    stars: bool = False


STEERING: tuple[tuple[str, dict], ...] = (
    ("neon cyberpunk synthwave futuristic", {"palettes": ("neon", "violet")}),
    ("night midnight moon moonlight moonlit star starry galaxy aurora", {"palettes": DARK, "stars": True}),
    ("sunset sunrise dusk dawn evening golden", {"palettes": WARM}),
    ("storm stormy rain rainy thunder thunderstorm", {"palettes": ("storm",), "weather": "rain", "clouds": 1.0}),
    ("fog foggy mist misty haze hazy", {"palettes": ("fog", "apricot"), "weather": "fog"}),
    ("city skyline town street tower building", {"land": "skyline"}),
    ("desert dune sand sahara mars", {"palettes": ("dune", "canyon", "gold"), "land": "dunes", "water": False}),
    ("mountain peak alps cliff canyon", {"land": "mountains"}),
    ("hill valley", {"land": "hills"}),
    (
        "snow snowy winter ice icy frozen arctic",
        {"palettes": COLD, "land": "mountains", "snow": True, "weather": "snow"},
    ),
    ("forest wood tree pine jungle", {"land": "hills", "trees": 1.0}),
    ("meadow field green garden", {"palettes": ("meadow", "mint"), "land": "hills"}),
    ("spring summer noon sunny sky", {"palettes": ("noon", "meadow", "dune")}),
    ("boat ship sail sailor sailing yacht", {"water": True, "boat": True}),
    ("sea ocean lake river beach island coast harbor harbour", {"water": True}),
)
"""Which words of a prompt steer the scene; where two rows disagree, the upper one wins."""


def choose_scene(prompt: str, random: Random) -> Scene:
    """Draw a scene from the random stream, then let the words of the prompt have their say."""
    land = random.choice(("mountains", "mountains", "hills", "dunes"))
    night = random.random() < 0.25
    scene = Scene(
        palettes=DARK if night else tuple(name for name in PALETTES if name not in DARK),
        land=land,
        water=random.random() < 0.4,
        boat=random.random() < 0.35,
        trees=random.choice((0.2, 0.4, 0.7)),
        clouds=random.choice((0, 0.5, 0.8)),
    )
    words = singulars(re.findall(r"[a-z]+", prompt.lower()))
    for keywords, changes in reversed(STEERING):
        if words & singulars(keywords.split()):
            scene = replace(scene, **changes)
    return scene


def singulars(words: list[str]) -> set[str]:
    return {word.removesuffix("s") for word in words}
