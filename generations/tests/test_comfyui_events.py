"""The WebSocket of ComfyUI: its events are hints, and a render needs none of them."""

import time
from uuid import uuid4

import pytest

from generations.renderers.base import Waiting
from generations.renderers.comfyui import events, prompt
from generations.tests.support.comfyui.renders import make_renderer


@pytest.mark.parametrize("sockets", ["dropped", "refused"])
def test_render__needs_no_events(double, render, make_request, monkeypatch, sockets):
    monkeypatch.setattr(prompt, "POLL_WITHOUT_EVENTS", 0.1)
    double.set(sockets=sockets, seconds=0.3)

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__needs_no_events_of_a_silent_websocket(double, render, make_request):
    double.set(sockets="silent")
    started_at = time.monotonic()

    assert render(make_request()).size == (64, 64)
    assert time.monotonic() - started_at < 2


def test_render__reconnects_to_receive_events(double, render, make_request, monkeypatch, change_policy):
    change_policy("COMFYUI_EVENTS", first_pause=0.02)
    monkeypatch.setattr(prompt, "TICK", 0.05)
    double.set(sockets="dropped", seconds=0.5)
    request, reported = make_request(), []

    render(request, reported.append)

    assert len(double.calls("GET", f"/ws?clientId={request.id}")) > 2
    assert len(set(reported)) > 3


def test_render__does_not_wait_for_a_handshake_without_an_answer(double, make_request, monkeypatch):
    monkeypatch.setattr(events, "OPEN_TIMEOUT", 0.2)
    double.set(sockets="mute")
    started_at = time.monotonic()

    assert make_renderer(double).render(make_request(), lambda percent: None)
    assert time.monotonic() - started_at < 2


def test_render__ignores_the_events_of_other_prompts(double, render, make_request):
    """The other prompt has no client_id, so its events are sent to all clients."""
    double.set(seconds=0.3)
    double.submit(str(uuid4()))
    while_waiting = []

    def progress(percent: int) -> None:
        if double.queue()[1]:
            while_waiting.append(percent)

    render(make_request(), progress)

    assert while_waiting
    assert all(isinstance(percent, Waiting) and percent == 0 for percent in while_waiting)
