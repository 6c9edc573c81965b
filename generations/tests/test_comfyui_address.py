"""How a ComfyUI server is reached, and what happens while it can't be."""

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from generations.renderers.base import RendererFailure
from generations.renderers.comfyui import ComfyUIRenderer, address, renderer
from generations.renderers.http import calls
from generations.renderers.workflows import read
from generations.tests.support.comfyui.process import Double
from generations.tests.support.comfyui.renders import Stop, make_renderer
from lockngen.tests.support.processes import free_port


def test_unavailable_server__is_waited_for(double, render, make_request, change_policy):
    change_policy("COMFYUI_CALL", max_pause=0.2)
    double.kill()
    threading.Timer(0.3, double.start).start()

    assert render(make_request()).size == (64, 64)


def test_unavailable_server__is_given_up_after_the_patience(make_request):
    renderer = ComfyUIRenderer(f"comfyui://127.0.0.1:{free_port()}?patience=0.2", read())
    started_at = time.monotonic()

    with pytest.raises(RendererFailure, match="can't be reached"):
        renderer.render(make_request(), lambda percent: None)

    assert 0.2 < time.monotonic() - started_at < 20


def test_frozen_server__does_not_delay_a_worker_that_stops(double, make_request, monkeypatch):
    monkeypatch.setattr("generations.renderers.http.calls.TIMEOUT", 0.3)
    monkeypatch.setattr("generations.renderers.comfyui.events.OPEN_TIMEOUT", 0.3)
    renderer, calls = make_renderer(double), []

    def stop(percent: int) -> None:
        calls.append(percent)
        if len(calls) > 2:
            raise Stop

    os.kill(double.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Stop):
            renderer.render(make_request(), stop)
    finally:
        os.kill(double.process.pid, signal.SIGCONT)


def test_authorization__is_sent_with_every_call_and_never_logged(double, make_request, caplog):
    caplog.set_level("DEBUG")
    renderer = make_renderer(double, "Bearer secret")

    renderer.render(make_request(), lambda percent: None)

    assert {call["headers"].get("Authorization") for call in double.http.get("/double").json()} == {"Bearer secret"}
    assert "secret" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and self-signed certificate of localhost."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *subject]
    subprocess.run(["openssl", "req", "-x509", *options, "-keyout", file, "-out", f"{file}.crt"], check=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def encrypted_double(certificate, tmp_path):
    double = Double(free_port(), tmp_path, certificate)
    yield double
    double.stop()


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate with")
def test_encrypted_server__is_used_if_its_certificate_is_trusted(encrypted_double, make_request, monkeypatch):
    for module in (calls, renderer):
        monkeypatch.setattr(module, "tls", ssl.create_default_context)
    request, reported = make_request(), []
    with pytest.raises(RendererFailure, match="can't be reached"):
        ComfyUIRenderer(encrypted_double.url.replace("=5", "=0.1"), read()).render(request, reported.append)
    with pytest.raises(RendererFailure) as untrusted:
        make_renderer(encrypted_double).state()
    assert untrusted.value.reason == (
        "its certificate is not trusted (self-signed certificate): SSL_CERT_FILE names a file of certificates to trust"
    )

    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted_double.certificate))
    encrypted_double.set(seconds=0.2)
    make_renderer(encrypted_double).render(request, reported.append)

    assert 39 in reported  # received by WebSocket
    assert len(encrypted_double.prompts()) == 1


def test_proxy_of_the_environment__is_ignored(double, render, make_request, monkeypatch):
    double.set(seconds=0.2)
    reported = []
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    render(make_request(), reported.append)

    assert 39 in reported  # received by WebSocket


@pytest.mark.parametrize(
    ("url", "http", "websocket", "patience"),
    [
        ("comfyui://gpu", "http://gpu:8188", "ws://gpu:8188", 60),
        (
            "comfyuis://gpu.example.org/comfy/",
            "https://gpu.example.org:443/comfy",
            "wss://gpu.example.org:443/comfy",
            60,
        ),
        ("comfyui://[::1]:8189?patience=2.5", "http://[::1]:8189", "ws://[::1]:8189", 2.5),
    ],
)
def test_address__is_parsed(url, http, websocket, patience):
    found = address.parse(url)

    assert (found.location.http, found.websocket, found.patience) == (http, websocket, patience)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("comfyui:", "comfyui://host:8188"),
        ("comfyui://", "comfyui://host:8188"),
        ("comfyui://gpu:port", "comfyui://host:8188"),
        ("comfyui://gpu:99999", "comfyui://host:8188"),
        ("comfyui://g pu", "comfyui://host:8188"),
        ("comfyui://gpu#x", "comfyui://host:8188"),
        ("comfyui://gpu?patience=long", "patience"),
        ("comfyui://gpu?preview_method=best", "preview_method must be one of auto, latent2rgb, taesd, none, default"),
        ("comfyui://gpu?speed=1", "patience"),
        ("comfyui://gpu?patience=1&patience=2", "patience"),
        ("comfyui://me:secret@gpu", "COMFYUI_AUTHORIZATION"),
    ],
)
def test_invalid_address__is_rejected_with_the_reason(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        address.parse(url)

    assert "secret" not in str(caught.value)
