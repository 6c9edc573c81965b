"""Servers that are slow, broken or hostile, or have no images API: no call blocks, and the reason is reported."""

import base64
import gzip
import json
import time

import pytest

from generations.images import limits
from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.openai import renderer
from generations.renderers.openai.renderer import OpenAIRenderer
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.tests.support.comfyui.renders import Stop
from generations.tests.support.raw_server import answer
from lockngen.tests.support.processes import free_port


@pytest.fixture
def serve(serve_bytes):
    return lambda pieces, pause=0: f"openai://{serve_bytes(pieces, pause)}?models=flux"


def state(url: str) -> dict:
    (state,) = RendererPool([PooledRenderer(url, OpenAIRenderer(url))]).states(timeout=10)
    return state


def render(url: str, request, progress=lambda percent: None) -> bytes:
    return OpenAIRenderer(url).render(request, progress)


@pytest.fixture
def request_(make_request):
    return make_request(model="flux", seed=7)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        (answer(b"no", "401 Unauthorized"), "it answered 401: it requires OPENAI_RENDERER_KEY, or another value"),
        (answer(b"<html>Hi</html>"), "it answered with an HTML page: it is not an OpenAI images API, or a login page"),
        (answer(b"no", "503 Service Unavailable"), "GET /v1/models was answered with 503"),
        (answer(b" " * 2_000_000), "GET /v1/models returned more than 1048576 bytes"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "it closed the connection or does not use HTTP; openais:// is with TLS"),
    ],
    ids=["401", "page", "503", "large", "ssh"],
)
def test_state__gives_the_reason(serve, pieces, reason):
    """More of them are in test_comfyui_hostile.py, as both renderers make their calls by the same code."""
    found = state(serve(pieces))

    assert found["state"] == "down"
    assert reason in found["reason"]


def test_state__gives_the_reason_if_nothing_listens(images_api):
    assert "refuses the connection" in state(f"openai://127.0.0.1:{free_port()}")["reason"]
    assert "does not use TLS" in state(images_api.url.replace("openai", "openais"))["reason"]


def test_state__has_the_number_of_models(images_api):
    images_api.models = ["a", "b"]

    assert state(images_api.url) == {"renderer": images_api.url, "state": "ok", "models": 2}


def test_state__has_a_deadline_for_the_whole_answer(serve, monkeypatch):
    monkeypatch.setattr(renderer, "ANSWERED_WITHIN", 0.2)
    url = serve([b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", *[b"x"] * 200], pause=0.02)
    started_at = time.monotonic()

    assert state(url)["reason"] == "it did not answer in time"

    assert time.monotonic() - started_at < 2


def test_render__stops_promptly_while_an_answer_trickles(serve, request_):
    url = serve([b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", *[b"x"] * 200], pause=0.05)
    started_at = time.monotonic()

    def stop(percent: int) -> None:
        if time.monotonic() - started_at > 0.1:
            raise Stop

    with pytest.raises(Stop):
        render(url, request_, stop)

    assert time.monotonic() - started_at < 2


def test_image__beyond_the_limit_is_final(serve, request_, monkeypatch):
    monkeypatch.setattr(renderer, "MAX_ANSWER", 100_000)

    with pytest.raises(RenderError, match="larger than 64 MiB"):
        render(serve(answer(b" " * 200_000)), request_)


def test_image_at_a_url__beyond_the_limit_is_final(images_api, serve_bytes, request_, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 100_000)
    place = serve_bytes(answer(b" " * 200_000))
    images_api.delivery = f"http://{place}/a.png"

    with pytest.raises(RenderError, match="larger than"):
        render(f"{images_api.url}?models=flux&image_hosts={place}", request_)


@pytest.mark.parametrize(
    "pieces",
    [
        answer(b"", "302 Found", Location="http://127.0.0.1:1/secret"),
        answer(b"gone", "404 Not Found"),
        answer(gzip.compress(b"x"), Content_Encoding="gzip"),
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nhalf"],
    ],
    ids=["redirect", "404", "encoded", "cut"],
)
def test_image_at_a_url__that_can_not_be_fetched_is_a_failure(images_api, serve_bytes, request_, pieces):
    place = serve_bytes(pieces)
    images_api.delivery = f"http://{place}/a.png"

    with pytest.raises(RendererFailure):
        render(f"{images_api.url}?models=flux&image_hosts={place}", request_)


def test_image_at_a_url__has_a_deadline(images_api, serve_bytes, request_, monkeypatch):
    monkeypatch.setattr(renderer, "FETCHED_WITHIN", 0.2)
    place = serve_bytes([b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", *[b"x"] * 200], pause=0.05)
    images_api.delivery = f"http://{place}/a.png"
    started_at = time.monotonic()

    with pytest.raises(RendererFailure):
        render(f"{images_api.url}?models=flux&image_hosts={place}", request_)

    assert time.monotonic() - started_at < 2


def test_answer__of_many_values_is_not_parsed(serve, request_):
    url = serve(answer(b'{"data": [' + b"[]," * 20_000 + b"[]]}"))

    with pytest.raises(RendererFailure, match="invalid response") as failure:
        render(url, request_)

    assert failure.value.reason == "POST /v1/images/generations returned more than 10000 values"


def test_answer__of_the_largest_image_is_accepted(serve, request_):
    encoded = base64.b64encode(bytes(limits.MAX_BYTES)).decode()
    body = json.dumps({"created": 1, "data": [{"b64_json": encoded, "revised_prompt": "x" * 2000}]}).encode()

    assert len(render(serve(answer(body)), request_)) == limits.MAX_BYTES
