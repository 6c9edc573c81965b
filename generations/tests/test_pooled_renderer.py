"""How a renderer says how it is, and what becomes of one that doesn't."""

import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from generations.renderers import pooled_renderer
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer


@pytest.fixture
def make_member():
    def make(state=None, url: str = "sketch:?seconds=3") -> PooledRenderer:
        return PooledRenderer(url, SimpleNamespace(concurrency=1, **({"state": state} if state else {})))

    return make


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, {"state": "ok"}),
        (lambda: "busy", {"state": "busy"}),
        (lambda: {"state": "loading", "vram_mb": 24576}, {"state": "loading", "vram_mb": 24576}),
        (lambda: {"queue": 3}, {"state": "ok", "queue": 3}),
        (lambda: {"devices": "\x1b[31mcuda\n:0\u202e"}, {"state": "ok", "devices": "[31mcuda :0"}),
        (Mock(side_effect=OSError("no\nroute")), {"state": "down", "reason": "OSError: no route"}),
    ],
    ids=["no way to tell", "a word", "a dict", "figures alone", "control characters", "an error"],
)
def test_state__is_what_the_renderer_shows(make_member, state, told):
    assert RendererPool([make_member(state)]).states() == [{"renderer": "sketch:", **told}]


def test_state__that_is_not_reported_is_not_waited_for(make_member):
    answered = threading.Event()
    slow, quick = make_member(lambda: answered.wait(30) and "ok"), make_member(lambda: "ok", "comfyui://gpu-2")

    started = time.monotonic()
    told = RendererPool([slow, quick]).states(timeout=0.1)
    answered.set()

    assert [one["state"] for one in told] == ["no answer", "ok"]
    assert time.monotonic() - started < 5


def test_state__names_the_renderer_without_its_secrets(make_member):
    refused = Mock(side_effect=OSError("http://ann:secret@gpu-1:8188 refused"))

    (told,) = RendererPool([make_member(refused, "comfyui://ann:secret@gpu-1:8188/?token=secret")]).states()

    assert told == {"renderer": "comfyui://gpu-1:8188", "state": "down", "reason": "OSError: http://gpu-1:8188 refused"}


def test_one_that_is_down__is_looked_at_again_less_and_less_often(make_member, monkeypatch, caplog):
    clock = Mock(return_value=1000.0)
    monkeypatch.setattr(pooled_renderer, "time", SimpleNamespace(monotonic=clock))
    state = Mock(side_effect=OSError("no route"))
    one = make_member(state)

    pauses = []
    for _ in range(6):
        assert not one.is_reachable()
        while not one.is_free:
            clock.return_value += 1
        pauses.append(clock.return_value - 1000 - sum(pauses))
    state.side_effect = lambda: "ok"

    assert one.is_reachable()
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_one_that_does_not_answer__is_not_waited_for(make_member, monkeypatch):
    monkeypatch.setattr(pooled_renderer, "PROBE_TIMEOUT", 0.05)
    answered = threading.Event()
    one = make_member(lambda: answered.wait(30) and "ok")

    assert not one.is_reachable()
    answered.set()

    assert not one.is_free
