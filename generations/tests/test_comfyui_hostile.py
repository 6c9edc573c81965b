"""Servers that are no ComfyUI, misconfigured, broken or hostile: no call blocks, and the reason is reported."""

import gzip
import time

import pytest

from generations.renderers.base import RendererFailure
from generations.renderers.comfyui import ComfyUIRenderer, renderer
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.renderers.workflows import read
from generations.tests.support.comfyui.renders import Stop
from generations.tests.support.raw_server import answer
from lockngen.tests.support.processes import free_port


@pytest.fixture
def serve(serve_bytes):
    """The URL of a server that sends these pieces to every request, with a pause after each."""
    return lambda pieces, pause=0: f"comfyui://{serve_bytes(pieces, pause)}?patience=0"


def state(url: str) -> dict:
    (state,) = RendererPool([PooledRenderer(url, ComfyUIRenderer(url, read()))]).states(timeout=10)
    return state


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        (
            answer(b"", "302 Found", Location="/login"),
            "302 with a redirect, which is not followed: it requires COMFYUI_AUTH",
        ),
        (answer(b"no", "401 Unauthorized"), "it answered 401: it requires COMFYUI_AUTHORIZATION"),
        (answer(b"no", "403 Forbidden"), "it answered 403: it requires COMFYUI_AUTHORIZATION"),
        (answer(b"<html>Log in</html>", Content_Type="text/html"), "HTML page: it is not ComfyUI, or a login page"),
        (
            answer(b"<html>Not found</html>", "404 Not Found"),
            "GET /system_stats was answered with 404: it answered with",
        ),
        (answer(b"[1]"), "GET /system_stats returned no JSON object"),
        (answer(gzip.compress(b"{}"), Content_Encoding="gzip, gzip"), "it sent Content-Encoding gzip, gzip"),
        (answer(b" " * 100_000), "GET /system_stats returned more than 65536 bytes"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "it closed the connection or does not use HTTP"),
        ([b"\x1b[2J\x1b[31mHTTP/9 \x07\r\n\r\n"], "it closed the connection or does not use HTTP"),
        ([], "it closed the connection or does not use HTTP"),
    ],
    ids=["redirect", "401", "403", "page", "404 page", "list", "encoded", "large", "ssh", "escapes", "closed"],
)
def test_state__gives_the_reason(serve, pieces, reason):
    found = state(serve(pieces))

    assert found["state"] == "down"
    assert reason in found["reason"]
    assert found["reason"].isprintable()


def test_state__gives_the_reason_if_nothing_listens():
    refused, unknown = state(f"comfyui://127.0.0.1:{free_port()}"), state("comfyui://nowhere.invalid")

    assert refused["reason"] == "it refuses the connection: no process listens at its port"
    assert unknown["reason"] in ("its host name is unknown", "it did not answer in time")


def test_state__of_a_server_without_tls_names_the_scheme(double):
    found = state(f"comfyuis://127.0.0.1:{double.port}")

    assert "does not use TLS" in found["reason"]


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"], ids=["head", "body"])
def test_state__has_a_deadline_for_the_whole_answer(serve, monkeypatch, head):
    monkeypatch.setattr(renderer, "ANSWERED_WITHIN", 0.2)
    url = serve([head + b"H", *[b"x"] * 200], pause=0.02)
    started_at = time.monotonic()

    found = state(url)

    assert found["reason"] == "it did not answer in time"
    assert time.monotonic() - started_at < 2


def test_render__stops_promptly_while_a_response_trickles(serve, make_request):
    url = serve([b"HTTP/1.1 200 OK\r\n", *[b"x"] * 200], pause=0.05)
    started_at = time.monotonic()

    def stop(percent: int) -> None:
        if time.monotonic() - started_at > 0.1:
            raise Stop

    with pytest.raises(Stop):
        ComfyUIRenderer(url, read()).render(make_request(), stop)
    assert time.monotonic() - started_at < 2


def test_render__rejects_an_encoded_response_without_decoding_it(serve, make_request):
    url = serve(answer(gzip.compress(gzip.compress(bytes(10**6))), Content_Encoding="gzip, gzip"))

    with pytest.raises(RendererFailure, match="sent an invalid response") as caught:
        ComfyUIRenderer(url, read()).render(make_request(), lambda percent: None)
    assert "Content-Encoding" in caught.value.reason


def test_cancel__has_a_deadline(serve, monkeypatch, caplog):
    monkeypatch.setattr(renderer, "CANCELLED_WITHIN", 0.1)
    started_at = time.monotonic()

    ComfyUIRenderer(serve([b"H"], pause=30), read()).cancel("00000000-0000-0000-0000-000000000000")

    assert time.monotonic() - started_at < 2
    assert "it did not answer in time" in caplog.text
