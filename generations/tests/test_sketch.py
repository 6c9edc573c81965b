import hashlib
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from generations.renderers import sketch
from generations.renderers.base import RenderError, RenderRequest
from generations.renderers.painting import caption
from generations.renderers.painting.brush import Colour
from generations.renderers.painting.caption import Caption
from generations.renderers.painting.scenes import DARK, PALETTES, STEERING, WARM, choose_scene
from generations.renderers.sketch import SketchRenderer

PROJECT = Path(sketch.__file__).parents[2]
FEW_EXAMPLES = settings(max_examples=20, deadline=None, derandomize=True, database=None)
REQUEST = RenderRequest(
    UUID(int=1), "a lighthouse", "", "sketch", width=192, height=192, steps=20, guidance=7.0, seed=42
)
SMALL = replace(REQUEST, width=64, height=64)


class StopRender(Exception):
    pass


def render(**fields) -> bytes:
    return SketchRenderer().render(replace(REQUEST, **fields), lambda percent: None)


def opened(**fields) -> Image.Image:
    image = Image.open(BytesIO(render(**fields)))
    image.load()
    return image


def test_render__is_the_same_in_another_process():
    script = f"""
import hashlib
from uuid import UUID
from generations.renderers.base import RenderRequest
from generations.renderers.sketch import SketchRenderer
print(hashlib.sha256(SketchRenderer().render({REQUEST!r}, lambda percent: None)).hexdigest())
"""

    output = subprocess.check_output([sys.executable, "-c", script], cwd=PROJECT, text=True)

    assert output.strip() == hashlib.sha256(render()).hexdigest()


def test_render__repeats_itself_to_the_byte_in_two_threads():
    prompts = ["mountains", "a city by the sea at night", "winter forest", "storm"]

    with ThreadPoolExecutor(2) as threads:
        pictures = list(threads.map(lambda prompt: render(prompt=prompt), prompts))

    assert pictures == [render(prompt=prompt) for prompt in prompts]


@pytest.mark.parametrize("change", [{"seed": 43}, {"seed": 0}, {"prompt": "a Lighthouse"}, {"width": 200}])
def test_render__differs_with_seed_prompt_and_size(change):
    assert opened(**change).tobytes() != opened().tobytes()


def test_render__ignores_what_a_sketch_has_no_use_for():
    other = opened(id=UUID(int=2), steps=50, guidance=1.0, model="other", negative_prompt="blurry")

    assert other.tobytes() == opened().tobytes()


def test_render__without_a_seed_takes_one_from_the_id_and_states_which():
    seed = int(opened(seed=None).text["seed"])

    assert 0 <= seed <= 2**53 - 1
    assert render(seed=None) == render(seed=seed)
    assert render(seed=None) != render(seed=None, id=UUID(int=2))


@pytest.mark.parametrize(
    ("width", "height"),
    [(64, 64), (2048, 64), (64, 2048), (160, 160), (512, 384), (384, 512), (1024, 176), (8, 8)],
)
def test_render__has_the_size_asked_for(width, height):
    image = opened(width=width, height=height)

    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (width, height))


@given(width=st.integers(8, 200), height=st.integers(8, 200), seed=st.integers(0, 2**53 - 1))
@FEW_EXAMPLES
def test_render__takes_any_size_and_seed(width, height, seed):
    assert opened(width=width, height=height, seed=seed).size == (width, height)


@pytest.mark.parametrize("words", [words for words, _ in STEERING])
@pytest.mark.parametrize("size", [{"width": 64, "height": 64}, {"width": 192, "height": 160}])
def test_render__paints_every_kind_of_scene(words, size):
    image = opened(prompt=words, **size)

    assert image.getcolors(maxcolors=800) is None  # which means there are more


@pytest.mark.parametrize("negative", [{}, {"negative_prompt": "näher"}])
def test_render__carries_its_metadata(negative):
    prompt = "Ein Fjord, 夜の海 🌊"

    text = opened(prompt=prompt, **negative).text

    asked = {"model": "sketch", "width": "192", "height": "192", "steps": "20", "guidance": "7.0", "seed": "42"}
    assert text == {"prompt": prompt, **negative, **asked, "software": "LockN Gen sketch renderer"}


@given(prompt=st.text(max_size=60))
@example(prompt="")
@example(prompt="\n\t \u200b")
@example(prompt="x" * 2000)
@example(prompt="森" * 2000)
@example(prompt="e" + "\u0301" * 500)
@example(prompt="مرحبا بالعالم שלום 👩‍👩‍👧‍👦 \u202eabc\u202c")
@example(prompt="\ud800 alone, and \0 too")
@FEW_EXAMPLES
def test_render__takes_any_prompt(prompt):
    assert opened(prompt=prompt, width=160, height=160).text["prompt"] == caption.storable(prompt)


def test_caption__has_the_prompt_and_the_facts():
    written = Caption("a lighthouse", ["a sketch"], 512, 512)

    assert [line.text for line in written.lines] == ["a lighthouse", "a sketch"]
    assert 0 < written.height < 128


@pytest.mark.parametrize(("width", "height", "rows"), [(512, 512, 2), (512, 1024, 3), (1024, 200, 1)])
def test_caption__shortens_a_long_prompt(width, height, rows):
    *words, facts = Caption("a lighthouse and " * 40, ["a sketch"], width, height).lines

    assert len(words) == rows
    assert words[-1].text.endswith("…")
    assert facts.text == "a sketch"


@pytest.mark.parametrize("size", [(159, 512), (512, 159), (64, 64)])
def test_caption__is_left_out_of_small_pictures(size):
    assert Caption("a lighthouse", ["a sketch"], *size).height == 0


@pytest.mark.parametrize("width", [160, 200, 256, 512])
def test_caption__stays_inside_and_shows_every_fact(width):
    facts = ["LockN Gen sketch", f"seed {2**53 - 1}", "not made by a model"]

    written = Caption("W" * 300, facts, width, 512)

    room = caption.TEXT_SCALE * (width - 2 * written.margin)
    assert all(line.font.getlength(line.text) <= room for line in written.lines)
    assert all(any(fact in line.text for line in written.lines) for fact in facts)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a lighthouse", "a lighthouse"),
        (" two\nlines\tand\u00a0more ", "two lines and more"),
        ("512\u00d7512 \u2014 done", "512x512 - done"),
        ("cafe\u0301 na\u00efve", "cafe naive"),
        ("\u591c\u306e\u6d77 at night", "\u00b7 at night"),
        ("fox \U0001f98a \U0001f98a\U0001f98a fox", "fox \u00b7 fox"),
    ],
)
def test_legible__writes_what_the_embedded_font_can(prompt, words):
    assert caption.legible(prompt, ImageFont.load_default(40)) == words


@pytest.mark.parametrize("snow", [False, True])
@pytest.mark.parametrize("palette", PALETTES)
def test_caption__stands_out_from_every_ground(palette, snow):
    ground = PALETTES[palette].ground(snow)

    for fade in (0, caption.FACTS_FADE):
        assert contrast(caption.ink_on(ground, fade), ground) >= 4.5


def contrast(one: Colour, other: Colour) -> float:
    """As WCAG 2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: Colour) -> float:
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a Forest at night", {"palettes": DARK, "trees": 1.0}),
        ("snowy peaks", {"snow": True}),
        ("SUNSET over dunes", {"palettes": WARM, "land": "dunes"}),
        ("two boats", {"boat": True}),
        ("the lakes", {"water": True}),
        ("a city in fog", {"weather": "fog", "land": "skyline"}),
    ],
)
def test_choose_scene__follows_the_words(prompt, expected):
    for seed in range(5):
        scene = choose_scene(prompt, Random(seed))
        assert scene == replace(scene, **expected)


def test_progress__ends_with_100_and_never_goes_back():
    reported = []

    SketchRenderer().render(REQUEST, reported.append)

    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)
    assert len(set(reported)) > 5


def test_seconds__slow_the_render_and_keep_reporting():
    reported = []

    started_at = time.monotonic()
    picture = SketchRenderer(seconds=0.4).render(SMALL, reported.append)

    assert 0.4 <= time.monotonic() - started_at < 2
    assert picture == render(width=64, height=64)
    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)
    assert len(set(reported)) >= 5


@pytest.mark.parametrize("options", [{}, {"seconds": 10}, {"seconds": 10, "fail": True}])
def test_progress__stops_the_render_by_raising(options):
    seen = []

    def stop_early(percent):
        seen.append(percent)
        if percent:
            raise StopRender

    started_at = time.monotonic()
    with pytest.raises(StopRender):
        SketchRenderer(**options).render(SMALL, stop_early)

    assert time.monotonic() - started_at < 2
    assert seen[-1] < 20


def test_fail__raises_a_render_error_after_the_seconds():
    reported = []

    started_at = time.monotonic()
    with pytest.raises(RenderError, match=r"^The sketch renderer was asked to fail\.$"):
        SketchRenderer(seconds=0.2, fail=True).render(SMALL, reported.append)

    assert time.monotonic() - started_at >= 0.2
    assert reported == sorted(reported)


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("", (0, False, math.inf)),
        ("seconds=3", (3, False, math.inf)),
        ("seconds=0.5&fail=1", (0.5, True, math.inf)),
        ("fail=0&seconds=3600&concurrency=4", (3600, False, 4)),
    ],
)
def test_from_query__reads_the_options(query, read):
    renderer = SketchRenderer.from_query(query)

    assert (renderer.seconds, renderer.fail, renderer.concurrency) == read


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("second=3", "no option 'second'"),
        ("seconds=3&colour=red", "no option 'colour'"),
        ("seconds", "option seconds takes a number of seconds from 0 to 3600"),
        ("seconds=soon", "option seconds takes"),
        ("seconds=-1", "option seconds takes"),
        ("seconds=3601", "option seconds takes"),
        ("seconds=nan", "option seconds takes"),
        ("seconds=1e3", "option seconds takes"),
        ("fail=yes", "option fail takes 0 or 1"),
        ("fail", "option fail takes 0 or 1"),
        ("concurrency=0", "option concurrency takes a whole number from 1 to 100"),
        ("concurrency=101", "option concurrency takes"),
        ("fail=1&fail=0", "option fail is given twice"),
    ],
)
def test_from_query__refuses_what_it_does_not_know(query, message):
    with pytest.raises(ValueError, match=message):
        SketchRenderer.from_query(query)
