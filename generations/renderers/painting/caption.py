"""Writes the prompt and the facts of a picture at its foot, in whichever font has the characters."""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from generations.renderers.painting.brush import BLACK, WHITE, Colour, clamp, mix

SMALLEST_CAPTIONED = 160
"""Pixels. A picture narrower or lower than this has no room for words; its metadata still says everything."""

LONGEST_CAPTION = 1000
"""Characters. No caption has room for more, so the rest need not be measured."""

FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf")
"""Where several lack as few characters of a prompt, the first of them writes it."""

TEXT_SCALE = 4
"""How much larger the words are drawn than shown: at their own size, hinting would tear them apart."""

FACTS_FADE = 0.27
EVERYDAY = str.maketrans("\u00d7\u2010\u2011\u2012\u2013\u2014\u2212", "x------")
"""What the multiplication sign, hyphens and dashes are written as: the embedded font has none of them."""

NO_CHARACTER = "\U0010fffe"
"""Unicode assigns it to nothing, so every font draws its blank for it."""


class Caption:
    """The prompt and a small line under it, at the foot of the picture.

    Pillow's embedded font has little more than ASCII. Where that is too little for a prompt, the installed
    font that lacks the fewest of its characters writes it. A character the font lacks loses its accents or,
    failing that, becomes a dot, and dots in a row become one. Pictures under 160 pixels wide or high have no
    caption.
    """

    def __init__(self, prompt: str, facts: list[str], width: int, height: int):
        self.height = 0
        self.lines: list[Line] = []
        size = clamp(min(width, 1.3 * height) / 30, 11, 40)
        self.margin = max(12, 0.048 * min(width, height), 1.3 * size)
        if min(width, height) < SMALLEST_CAPTIONED:
            return
        prompt = prompt[:LONGEST_CAPTION]
        room = TEXT_SCALE * (width - 2 * self.margin)
        font = font_for(prompt, size * TEXT_SCALE)
        rows = 1 if height < 240 else 3 if height > 1.3 * width else 2
        small = ImageFont.load_default(max(9.5, size * 0.64) * TEXT_SCALE)
        words = wrap(legible(prompt, font), font, room, rows)
        self.lines = [Line(text, font, 1.5 * size, fade=0) for text in words]
        leading = 1.25 * small.size / TEXT_SCALE
        self.lines += [Line(text, small, leading, FACTS_FADE) for text in flow(facts, small, room)]
        self.height = round(sum(line.height for line in self.lines) + 1.75 * self.margin)

    def draw(self, image: Image.Image, ground: Colour) -> None:
        top = image.height - self.height
        y = 0.75 * self.margin
        for line in self.lines:
            size = (image.width * TEXT_SCALE, math.ceil(2 * line.height) * TEXT_SCALE)
            mask = Image.new("L", size)
            ImageDraw.Draw(mask).text((self.margin * TEXT_SCALE, 0), line.text, font=line.font, fill=255)
            image.paste(ink_on(ground, line.fade), (0, top + round(y)), mask.reduce(TEXT_SCALE))
            y += line.height


def ink_on(ground: Colour, fade: float) -> Colour:
    """Whichever of a light and a dark ink stands out more, as faded into the ground as asked for."""
    return mix(WHITE if sum(ground) < 384 else BLACK, ground, 0.08 + 0.92 * fade)


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    font: ImageFont.FreeTypeFont
    height: float
    fade: float


def font_for(text: str, size: float) -> ImageFont.FreeTypeFont:
    """The embedded font if it has all the text needs, or else the one that lacks the fewest characters."""
    embedded = ImageFont.load_default(size)
    characters = set(plain(text))
    if not lacking(characters, embedded):
        return embedded
    return min([embedded, *installed_fonts(size)], key=lambda font: len(lacking(characters, font)))


def installed_fonts(size: float) -> Iterator[ImageFont.FreeTypeFont]:
    for name in FONTS:
        with suppress(OSError):
            yield ImageFont.truetype(name, size)


def lacking(characters: Iterable[str], font: ImageFont.FreeTypeFont) -> set[str]:
    """The characters the font would draw as it draws one that no font has."""
    blank = bytes(font.getmask(NO_CHARACTER))
    return {character for character in set(characters) - {" "} if bytes(font.getmask(character)) == blank}


def storable(text: str) -> str:
    """PNG takes neither lone surrogates nor NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def plain(text: str) -> str:
    """One line, composed, in everyday punctuation, without control and format characters."""
    text = storable(text).translate(EVERYDAY)
    text = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def legible(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text with a dot for every run of characters that the font can't write."""
    text = plain(text)
    missing = lacking(text, font)
    bases = {character: unicodedata.normalize("NFKD", character)[0] for character in missing}
    missing_bases = lacking(bases.values(), font)
    for character, base in bases.items():
        mark = unicodedata.category(character)[0] == "M"
        text = text.replace(character, "" if mark else "\0" if base in missing_bases else base)
    return re.sub(r"\0[\0 ]*\0|\0", "·", text)


def wrap(text: str, font: ImageFont.FreeTypeFont, room: float, rows: int) -> list[str]:
    """At most that many lines, none wider than the room. A word too long for a line is split."""
    lines: list[str] = []
    while text and len(lines) < rows:
        fitting = fit(text, font, room)
        if len(lines) == rows - 1 and fitting < len(text):
            return [*lines, shorten(text, font, room)]
        space = text.rfind(" ", 0, fitting + 1)
        end = fitting if fitting == len(text) or space <= 0 else space
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return lines


def fit(text: str, font: ImageFont.FreeTypeFont, room: float) -> int:
    """How many characters of the text fit the room, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= room else (low, middle - 1)
    return low


def shorten(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    return text[: fit(text, font, room - font.getlength("…"))].rstrip(" ,.;:·-") + "…"


def flow(facts: list[str], font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """The facts with dots between them, in as many lines as it takes to show all."""
    lines: list[str] = []
    for fact in facts:
        if lines and font.getlength(f"{lines[-1]} · {fact}") <= room:
            lines[-1] = f"{lines[-1]} · {fact}"
        else:
            lines.append(shorten(fact, font, room))
    return lines
