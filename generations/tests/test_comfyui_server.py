"""The tests that also run against a real ComfyUI: `COMFYUI_URL=comfyui://host:8188 bin/test -m comfyui`.

Without the variable they use the double. They need no checkpoint, and leave the prompts of other clients alone.
"""

import os
from io import BytesIO
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from generations.renderers.base import RenderError
from generations.renderers.comfyui import ComfyUIRenderer, outcome
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import parse
from generations.tests.support.comfyui.graphs import make_file

pytestmark = pytest.mark.comfyui


@pytest.fixture
def renderer(request) -> ComfyUIRenderer:
    url = os.environ.get("COMFYUI_URL") or request.getfixturevalue("double").url
    renderer = ComfyUIRenderer(url, read(), os.environ.get("COMFYUI_AUTHORIZATION", ""))
    own = {"width": "{{width}}", "height": 64, "batch_size": 1, "color": "{{seed}}"}
    renderer.catalogue.workflows["own"] = parse("own", make_file(own))
    return renderer


@pytest.fixture
def history(renderer):
    """A prompt's entry in the server's history."""
    headers = {"Authorization": renderer.authorization} if renderer.authorization else {}

    def read(id) -> dict:
        return httpx.get(f"{renderer.address.location.http}/history/{id}", headers=headers, trust_env=False).json()

    return read


def opened(image: bytes) -> Image.Image:
    return Image.open(BytesIO(image))


def test_image__has_the_requested_size_and_color(renderer, make_request):
    image = opened(renderer.render(make_request(width=128, height=72, seed=0xFF00FF), lambda percent: None))

    assert image.size == (128, 72)
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 255)


def test_equal_image__of_another_generation_is_another_file(renderer, make_request, history):
    first, second = make_request(seed=7), make_request(seed=7)

    images = [opened(renderer.render(request, lambda percent: None)) for request in (first, second)]

    assert images[0].tobytes() == images[1].tobytes()
    assert {outcome.image(history(request.id)[str(request.id)], "2")["filename"] for request in (first, second)} == {
        f"{request.id}_1_00001_.png" for request in (first, second)
    }


def test_progress__grows_to_100(renderer, make_request):
    reported = []

    renderer.render(make_request(), reported.append)

    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)


def test_next_attempt__reuses_a_finished_prompt(renderer, make_request, history):
    request = make_request()
    first = renderer.render(request, lambda percent: None)
    before = history(request.id)

    second = renderer.render(make_request(id=request.id, attempt=2), lambda percent: None)

    assert first == second
    assert history(request.id) == before != {}


def test_refused_graph__is_reported_by_node_and_input(renderer, make_request):
    with pytest.raises(RenderError, match=r"^The renderer refused the workflow: EmptyImage: Value .* \(color\)\.$"):
        renderer.render(make_request(model="own", seed=2**40), lambda percent: None)


def test_cancel__of_an_unknown_prompt_is_accepted(renderer, caplog):
    renderer.cancel(uuid4())

    assert caplog.text == ""
