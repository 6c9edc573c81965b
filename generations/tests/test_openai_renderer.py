"""Renders with a server that has OpenAI's images API."""

import threading
import time
from io import BytesIO

import pytest
from PIL import Image

from generations.renderers.base import RendererFailure, RenderError, Unseeded
from generations.renderers.openai.fields import EXTRAS
from generations.renderers.openai.renderer import OpenAIRenderer
from generations.tests.support.comfyui.renders import Stop
from generations.tests.support.images_api import TAKEN, ImagesApi

MODEL, NAME = "black-forest-labs/FLUX.1-schnell", "FLUX.1-schnell"


@pytest.fixture
def make_renderer(images_api):
    """A renderer that has read the server's list of models."""

    def make(query: str = "", keys: str = "", path: str = "") -> OpenAIRenderer:
        renderer = OpenAIRenderer(f"{images_api.url}{path}{query}", keys)
        renderer.support()
        images_api.calls.clear()
        return renderer

    return make


@pytest.fixture
def render(make_request):
    def render(renderer: OpenAIRenderer, progress=lambda percent: None, **fields) -> bytes:
        return renderer.render(make_request(**{"model": NAME, "seed": 7, **fields}), progress)

    return render


def test_request__has_the_parameters_under_each_of_their_names(images_api, make_renderer, render):
    image = render(make_renderer(), width=128, negative_prompt="fog", guidance=3.5, steps=9)

    assert images_api.bodies == [
        {
            "model": MODEL,
            "prompt": "a lighthouse",
            "n": 1,
            "size": "128x64",
            "response_format": "b64_json",
            "width": 128,
            "height": 64,
            "seed": 7,
            "negative_prompt": "fog",
            "steps": 9,
            "num_inference_steps": 9,
            "step": 9,
            "cfg": 3.5,
            "guidance_scale": 3.5,
        }
    ]
    assert Image.open(BytesIO(image)).size == (128, 64)
    assert not isinstance(image, Unseeded)


def test_plain_request__has_only_openai_s_fields(images_api, make_renderer, render):
    image = render(make_renderer("?fields=plain"), negative_prompt="fog")

    assert images_api.bodies[0].keys() == TAKEN
    assert isinstance(image, Unseeded)


def test_request_to_stable_diffusion_cpp__has_the_parameters_in_its_prompt(images_api, make_renderer, render):
    hostile = "a</sd_cpp_extra_args>b"
    image = render(make_renderer("?fields=sdcpp"), negative_prompt=hostile, steps=9)

    (body,) = images_api.bodies
    tag, _, prompt = body["prompt"].partition("</sd_cpp_extra_args>")
    assert body.keys() == TAKEN
    assert (prompt, '"seed": 7' in tag, '"steps": 9' in tag) == ("a lighthouse", True, True)
    assert not isinstance(image, Unseeded)


@pytest.mark.parametrize("refuses", ["one", "all"])
@pytest.mark.parametrize(
    "takes", [TAKEN, TAKEN - {"response_format"}, TAKEN | {"seed"}], ids=["plain", "gpt-image", "seed"]
)
def test_refused_fields__are_left_out_from_then_on(images_api, make_renderer, render, refuses, takes):
    images_api.refuses, images_api.takes = refuses, takes
    renderer = make_renderer()

    first = render(renderer)
    calls = len(images_api.bodies)
    second = render(renderer)

    assert len(images_api.bodies) == calls + 1
    assert images_api.bodies[-1].keys() == takes
    assert first == second
    assert {type(first), type(second)} == {bytes if "seed" in takes else Unseeded}


def test_refused_prompt_that_names_fields__does_not_disable_them(images_api, make_renderer, render):
    renderer = make_renderer()
    images_api.answers = [(400, {}, {"error": {"message": "Unknown seed, unsupported steps: refused."}})] * 3

    with pytest.raises(RenderError, match="Unknown seed"):
        render(renderer)
    images_api.answers.clear(), images_api.calls.clear()
    render(renderer)

    assert images_api.bodies[0].keys() >= EXTRAS.keys() - {"negative_prompt"}


@pytest.mark.parametrize("delivery", ["b64_json", "data", "own", "relative"])
def test_image__is_read_from_each_form(images_api, make_renderer, render, delivery):
    images_api.delivery = delivery

    assert Image.open(BytesIO(render(make_renderer()))).size == (64, 64)


def test_key__is_sent_to_its_server_and_never_logged(images_api, make_renderer, render, caplog):
    caplog.set_level("DEBUG")
    images_api.key, images_api.delivery = "Bearer sk-secret", "own"

    render(make_renderer(keys="elsewhere=sk-other,127.0.0.1=sk-secret"))

    assert {call["headers"].get("Authorization") for call in images_api.calls} == {"Bearer sk-secret"}
    assert "sk-" not in caplog.text


def test_image_of_another_host__is_fetched_only_if_the_host_is_named(images_api, make_renderer, render):
    elsewhere = ImagesApi()
    images_api.key, images_api.delivery = "Bearer sk-secret", f"http://127.0.0.1:{elsewhere.port}/images/1.png"

    try:
        with pytest.raises(RendererFailure, match="can't be fetched") as refused:
            render(make_renderer(keys="sk-secret"))
        assert elsewhere.calls == []
        render(make_renderer(f"?image_hosts=a.example.org+127.0.0.1:{elsewhere.port}", keys="sk-secret"))
        (call,) = elsewhere.calls
    finally:
        elsewhere.close()

    assert f"http://127.0.0.1:{elsewhere.port}" in refused.value.reason
    assert "Authorization" not in call["headers"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/a.png",
        "http://me:pw@127.0.0.1:1/a.png",
        "//10.0.0.1/a.png",
        "http://[::1/a.png",
        "http://127.0.0.1:99999/",
        "gopher:",
    ],
)
def test_image_at_another_url__is_refused(images_api, make_renderer, render, url):
    images_api.delivery = url

    with pytest.raises(RendererFailure):
        render(make_renderer())

    assert [call["path"] for call in images_api.calls] == ["/v1/images/generations"]


def test_base_path__is_that_of_the_url(images_api, make_renderer, render):
    images_api.models = [MODEL]
    renderer = make_renderer(path="/gateway/v1")

    render(renderer)

    assert [call["path"] for call in images_api.calls] == ["/gateway/v1/images/generations"]


def test_attempts__have_the_same_idempotency_key_and_other_generations_another(
    images_api, make_renderer, render, make_request
):
    renderer, request = make_renderer(), make_request(model=NAME, seed=7)

    renderer.render(request, lambda percent: None)
    renderer.render(request, lambda percent: None)
    render(renderer)

    first, second, other = [call["headers"]["Idempotency-Key"] for call in images_api.calls]
    assert first == second != other


def test_render__ends_when_it_is_stopped(images_api, make_renderer, render):
    images_api.is_held = True
    reported = []

    def stop(percent: int) -> None:
        reported.append(percent)
        if images_api.begun.is_set():
            raise Stop

    with pytest.raises(Stop):
        render(make_renderer(), stop)

    assert images_api.was_left.wait(5)
    assert set(reported) == {0}


def test_render__waits_longer_than_a_call_may_take(images_api, make_renderer, render, monkeypatch):
    monkeypatch.setattr("generations.renderers.http.calls.SECONDS", 0.05)
    monkeypatch.setattr("generations.renderers.http.calls.TIMEOUT", 0.1)
    images_api.is_held = True
    renderer = make_renderer()

    threading.Timer(0.5, images_api.may_end.set).start()
    started_at = time.monotonic()
    render(renderer)

    assert time.monotonic() - started_at >= 0.4
