"""The scenes of the sketch renderer as data: palettes, shapes, and the words of a prompt that select them."""

import re
from collections.abc import Mapping
from random import Random
from typing import Any

Colour = tuple[int, int, int]
Point = tuple[float, float]

PALETTES: Mapping[str, tuple[str, ...]] = {
    # the sky from top to horizon in four colours; the sun or moon; the farthest land; the nearest land
    "ember": ("#2b1d4e", "#8a3a6b", "#e8735a", "#ffc98b", "#fff0c9", "#bd6070", "#1d1030"),
    "rose": ("#666ba6", "#b08cb8", "#f0b3b6", "#ffe0cf", "#fff6ea", "#bb8aa8", "#2f1d3d"),
    "gold": ("#b0764a", "#dda25a", "#f5cf7c", "#fff2c2", "#fffbe6", "#d3a066", "#33190f"),
    "noon": ("#2f7fc1", "#6db3e2", "#b5ddf0", "#eef7f2", "#fffdf0", "#8fbdd0", "#123c4c"),
    "meadow": ("#4f9fb8", "#95cfc9", "#d9ecc8", "#f9f3cf", "#fffbe0", "#9cc7a9", "#12352a"),
    "mint": ("#173a58", "#2f7480", "#8fc7a9", "#fbe8b2", "#fff6d5", "#5d9a8f", "#0a2230"),
    "dune": ("#3f8fb0", "#8fc4c4", "#f2dfb4", "#fbe9c6", "#fffbe8", "#deae79", "#57220f"),
    "frost": ("#5f90bd", "#a9c9e0", "#dbe8f2", "#f8fafc", "#ffffff", "#a9c3da", "#1d3a56"),
    "lilac": ("#6b74ad", "#a9a9d6", "#e6cfe0", "#fdeee6", "#fffaf5", "#b3aed2", "#262a52"),
    "storm": ("#20262e", "#3f4a57", "#6f7f8a", "#b3b8b2", "#e8e6d8", "#68767e", "#0e1418"),
    "fog": ("#93a4a6", "#b3c0be", "#d3dad4", "#ecefe6", "#fffdf4", "#b0bfbb", "#1c2b2b"),
    "midnight": ("#060b1f", "#0f1f45", "#27467a", "#6787ab", "#f4f1e4", "#40608c", "#050a16"),
    "violet": ("#0d0721", "#2a1650", "#5b3585", "#b377a8", "#fbeee0", "#5c3f88", "#0b0618"),
    "lagoon": ("#03141c", "#07303a", "#145a5f", "#5fa393", "#eefaf0", "#2e6f72", "#02100f"),
    "neon": ("#0b0a2a", "#3b1466", "#b0267c", "#ff8a5b", "#ffe3b8", "#5d1d78", "#07061a"),
}
NIGHT = ("midnight", "violet", "lagoon", "neon")

BOAT = (
    ((-0.5, 0.1), (0.55, 0.12), (0.36, 0), (-0.4, 0)),
    ((0, 1.1), (0, 0.17), (0.45, 0.19)),
    ((-0.05, 0.9), (-0.05, 0.16), (-0.38, 0.16)),
)
LIGHTHOUSE = (
    ((-0.13, -0.2), (-0.08, 0.78), (0.08, 0.78), (0.13, -0.2)),
    ((-0.12, 0.78), (-0.12, 0.81), (0.12, 0.81), (0.12, 0.78)),
    ((-0.06, 0.81), (-0.06, 0.92), (-0.045, 0.92), (-0.045, 0.81)),
    ((0.045, 0.81), (0.045, 0.92), (0.06, 0.92), (0.06, 0.81)),
    ((-0.09, 0.92), (0, 1.02), (0.09, 0.92)),
)
LIGHTHOUSE_BANDS = tuple(
    ((-0.13 + 0.05 * low, low), (-0.13 + 0.05 * high, high), (0.13 - 0.05 * high, high), (0.13 - 0.05 * low, low))
    for low, high in ((0.16, 0.34), (0.52, 0.68))
)
"""Polygons whose points are offsets to the right and up, in heights of the whole shape."""

KEYWORDS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("neon cyberpunk synthwave futuristic", {"palettes": ("neon",)}),
    (
        "night midnight moon moonlight star starry galaxy aurora 夜 月 星",
        {"palettes": ("midnight", "violet", "lagoon")},
    ),
    ("sunset sunrise dusk dawn evening golden", {"palettes": ("ember", "rose", "gold")}),
    ("storm stormy rain rainy thunder", {"palettes": ("storm",)}),
    ("fog foggy mist misty haze hazy", {"palettes": ("fog",)}),
    ("city skyline town street tower building 東京 市 街", {"land": "city"}),
    ("desert dune sand sahara mars", {"palettes": ("dune", "gold"), "land": "dunes", "water": False}),
    ("mountain peak alps cliff canyon 山", {"land": "mountains"}),
    ("hill valley", {"land": "hills"}),
    ("snow snowy winter ice icy frozen arctic 雪", {"palettes": ("frost", "lilac"), "land": "mountains", "snow": True}),
    ("forest wood tree pine jungle 森", {"land": "hills", "trees": 0.7}),
    ("meadow field green garden", {"palettes": ("meadow", "mint"), "land": "hills"}),
    ("spring summer noon sunny sky", {"palettes": ("noon", "meadow")}),
    ("boat ship sail sailor sailing yacht 船", {"water": True, "boat": True}),
    ("lighthouse", {"water": True, "lighthouse": True, "land": "hills"}),
    ("sea ocean lake river beach island coast harbor harbour 海 湖 川", {"water": True}),
)
"""If two rows contradict each other, the upper one has precedence."""


def choose_scene(prompt: str, random: Random) -> dict[str, Any]:
    """A random scene, changed by the keywords in the prompt."""
    scene = {
        "palettes": tuple(PALETTES),
        "land": random.choice(("mountains", "hills", "dunes")),
        "water": random.random() < 0.5,
        "boat": random.random() < 0.35,
        "trees": random.choice((0, 0.1)),
        "snow": False,
        "lighthouse": False,
    }
    words = {word.removesuffix("s") for word in re.findall(r"[a-z]+", prompt.lower())}
    for keywords, changes in reversed(KEYWORDS):
        if any(word.removesuffix("s") in words or (not word.isascii() and word in prompt) for word in keywords.split()):
            scene |= changes
    scene["palette"] = random.choice(scene["palettes"])
    return scene
