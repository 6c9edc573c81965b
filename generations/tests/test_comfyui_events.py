"""The WebSocket of ComfyUI: its events are hints, and a render needs none of them."""

import time
from io import BytesIO
from unittest.mock import Mock
from uuid import uuid4

import pytest
from PIL import Image

from generations.renderers.base import Waiting
from generations.renderers.comfyui import ComfyUIRenderer, events, prompt
from generations.renderers.workflows import read
from generations.tests.support.comfyui.faults import PREVIEW_SIZE
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


def previews_of(render, request) -> list[bytes | None]:
    """The different previews that are reported, in their order."""
    reported = []
    render(request, lambda percent: reported.append(getattr(percent, "preview", None)))
    return list(dict.fromkeys(reported))


@pytest.mark.parametrize("is_old", [False, True])
def test_preview__is_reported_with_the_percentage(double, render, make_request, is_old):
    double.set(seconds=0.3, is_old=is_old)

    none, preview = previews_of(render, make_request())

    image = Image.open(BytesIO(preview))
    assert (none, image.size) == (None, PREVIEW_SIZE)
    assert image.getpixel((5, 5))[0] > 250


def test_preview__is_requested_as_the_option_says(double, make_request):
    double.set(seconds=0.1)
    renderer = ComfyUIRenderer(f"{double.url}&preview_method=none", read().beginning_with("blank"))

    assert previews_of(renderer.render, make_request()) == [None]
    assert double.prompts()[0]["extra_data"] == {"preview_method": "none"}


def test_preview__of_another_client_s_prompt_is_ignored(double, make_request):
    """The other prompt has no client_id, so its previews are sent to all clients, without an id."""
    double.set(seconds=0.5)
    double.submit(str(uuid4()), extra_data={"preview_method": "auto"})
    while_waiting = []

    def progress(percent: int) -> None:
        if double.queue()[1]:
            while_waiting.append(getattr(percent, "preview", None))

    make_renderer(double).render(make_request(), progress)

    assert set(while_waiting) == {None}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\1",
        b"\0\0\0\2\0\0\0\1image",
        b"\0\0\0\4\xff\xff\xff\xff{}image",
        b"\0\0\0\4\0\0\0\4nullimage",
        b"\0\0\0\4\0\0\0\2[]image",
        b"\0\0\0\4\0\0\0\2{{image",
        b"\0\0\0\4\0\0\xff\xff" + b"[" * 65535,
    ],
)
def test_frame__that_is_no_preview_is_ignored(frame):
    assert events._event(frame) == {}


def test_frame__of_a_preview_is_read():
    metadata = b'{"prompt_id": "a"}'

    assert events._event(b"\0\0\0\1\0\0\0\2image") == {"type": "preview", "data": {"image": b"image"}}
    assert events._event(b"\0\0\0\4\0\0\0\x12" + metadata + b"image") == {
        "type": "preview",
        "data": {"prompt_id": "a", "image": b"image"},
    }


@pytest.fixture
def followed(make_request) -> prompt.Prompt:
    """A prompt whose events are processed."""
    workflow = read().workflows["blank"]
    return prompt.Prompt(Mock(), Mock(), make_request(), workflow, lambda percent: None, patience=1)


@pytest.mark.parametrize(
    ("received", "is_reported"),
    [
        ([("progress", "own"), ("preview", None)], True),
        ([("progress", "own"), ("progress", "other"), ("preview", None)], False),
        ([("preview", None)], False),
        ([("preview", "own")], True),
        ([("progress", "own"), ("preview", "other")], False),
    ],
)
def test_preview__belongs_to_the_prompt_of_its_id_or_of_the_event_before_it(followed, received, is_reported):
    ids = {"own": followed.prompt_id, "other": str(uuid4())}

    for kind, whose in received:
        data = {"prompt_id": ids[whose]} if whose else {}
        followed._process({"type": kind, "data": data | ({"image": b"image"} if kind == "preview" else {})})

    assert followed.preview == (b"image" if is_reported else None)


def test_event__in_json_is_no_preview(followed):
    followed._process({"type": "preview", "data": {"prompt_id": followed.prompt_id, "image": "text"}})

    assert followed.preview is None
