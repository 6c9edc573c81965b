import subprocess
import sys
import time
from dataclasses import replace
from io import BytesIO
from unittest.mock import Mock
from uuid import UUID

import pytest
from PIL import Image

from generations.renderers.base import RenderError, RenderRequest
from generations.renderers.sketch import LANDS, MARGIN, PALETTES, WATER, SketchRenderer, caption

REQUEST = RenderRequest(UUID(int=1), "a lighthouse", "", "sketch", 192, 192, steps=20, guidance=7.0, seed=42)
SMALL = replace(REQUEST, width=64, height=64)


def render(**fields) -> bytes:
    return SketchRenderer().render(replace(REQUEST, **fields), lambda percent: None)


def opened(**fields) -> Image.Image:
    return Image.open(BytesIO(render(**fields)))


def test_render__gives_the_same_bytes_in_another_process(pytestconfig):
    script = "import sys; from generations.tests.test_sketch import render; sys.stdout.buffer.write(render())"

    assert subprocess.check_output([sys.executable, "-c", script], cwd=pytestconfig.rootpath) == render()


@pytest.mark.parametrize("change", [{"seed": 43}, {"prompt": "a Lighthouse"}, {"width": 200}])
def test_render__differs_with_seed_prompt_and_size(change):
    assert opened(**change).tobytes() != opened().tobytes()


def test_render__without_a_seed_derives_one_from_the_id():
    seed = int(opened(seed=None).text["seed"])

    assert render(seed=None) == render(seed=seed) != render(seed=None, id=UUID(int=2))


@pytest.mark.parametrize("size", [(2048, 64), (64, 2048), (1024, 176), (8, 8)])
def test_render__has_the_requested_size(size):
    image = opened(width=size[0], height=size[1])

    assert (image.format, image.mode, image.size) == ("PNG", "RGB", size)


def test_render__draws_what_the_prompt_mentions():
    kinds = {WATER, *(words for words, _ in (*PALETTES, *LANDS))}

    assert len({render(prompt=words, width=96, height=96) for words in kinds}) == len(kinds)
    assert opened(prompt="Snow", width=96, height=96).getpixel((0, 95)) == (243, 247, 250)
    assert opened(prompt="深夜", width=96, height=96).getpixel((0, 95)) == (5, 10, 22)


def test_render__writes_metadata():
    prompts = {"prompt": "Ein Fjord, 夜の海 🌊", "negative_prompt": "näher"}

    parameters = {"model": "sketch", "width": "192", "height": "192", "steps": "20", "guidance": "7.0", "seed": "42"}
    assert opened(**prompts).text == {**prompts, **parameters, "software": "LockN Gen sketch renderer"}


@pytest.mark.parametrize("prompt", ["", "森" * 2000, "e" + "\u0301" * 500])
def test_render__takes_any_prompt(prompt):
    assert opened(prompt=prompt).text["prompt"] == prompt


def test_render__replaces_what_png_does_not_accept():
    assert opened(prompt="\ud800 and \0").text["prompt"] == "? and \ufffd"


def test_caption__transliterates_the_prompt():
    lines = caption(replace(REQUEST, prompt=" café\n東京の夜 नमस्ते مرحبا 🎉", width=512, height=512), 1)

    facts = "LockN Gen sketch · seed 42 · 512x512 · not made by a model"
    assert [line for line, _, _ in lines] == ["cafe DongJingnoYe nmste mrhb :tada:", facts]


@pytest.mark.parametrize("width", [160, 512])
def test_caption__fits_and_shows_every_fact(width):
    lines = caption(replace(REQUEST, prompt="W" * 300, width=width, height=512, seed=2**53 - 1), 2)

    assert all(font.getlength(line) <= 2 * width - 2 * MARGIN * lines[0][1].size for line, font, _ in lines)
    assert " ".join(line for line, _, _ in lines).endswith("512 · not made by a model")


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_progress__rises_to_100_within_the_seconds(seconds):
    reported, started_at = [], time.monotonic()

    assert SketchRenderer(seconds=seconds).render(SMALL, reported.append) == render(width=64, height=64)

    assert seconds <= time.monotonic() - started_at < 2
    assert (reported, reported[0], reported[-1], len(set(reported)) >= 5) == (sorted(reported), 0, 100, True)


@pytest.mark.parametrize("options", [{}, {"seconds": 10}, {"seconds": 10, "fail": True}])
def test_progress__stops_the_render_by_raising(options):
    progress = Mock(side_effect=[None, InterruptedError])

    with pytest.raises(InterruptedError):
        SketchRenderer(**options).render(SMALL, progress)

    assert progress.call_count == 2


def test_fail__raises_a_render_error_after_the_seconds():
    started_at = time.monotonic()
    with pytest.raises(RenderError, match=r"^The sketch renderer is set to fail\.$"):
        SketchRenderer(seconds=0.05, fail=True).render(SMALL, lambda percent: None)

    assert time.monotonic() - started_at >= 0.05


def test_from_query__reads_the_options():
    renderer = SketchRenderer.from_query("seconds=0.5&fail=1&concurrency=4")

    assert (renderer.seconds, renderer.fail, renderer.concurrency) == (0.5, True, 4)


@pytest.mark.parametrize("query", ["second=3", "seconds=nan", "fail=yes", "concurrency=0", "fail=1&fail=0"])
def test_from_query__rejects_invalid_options(query):
    with pytest.raises(ValueError, match="option"):
        SketchRenderer.from_query(query)
