"""The health probes of a renderer, and the pauses after failed ones."""

import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from generations.renderers import pooled_renderer
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer


@pytest.fixture
def make_pooled():
    def make(state=None, url: str = "sketch:?seconds=3") -> PooledRenderer:
        return PooledRenderer(url, SimpleNamespace(concurrency=1, **({"state": state} if state else {})))

    return make


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (None, {"state": "ok"}),
        (lambda: "busy", {"state": "busy"}),
        (lambda: {"state": "loading", "vram_mb": 24576}, {"state": "loading", "vram_mb": 24576}),
        (lambda: {"queue": 3}, {"state": "ok", "queue": 3}),
        (lambda: {"devices": "\x1b[31mcuda\n:0\u202e"}, {"state": "ok", "devices": "[31mcuda :0"}),
        (Mock(side_effect=OSError("no\nroute")), {"state": "down", "reason": "OSError: no route"}),
    ],
    ids=["no state()", "a word", "a dict", "figures alone", "control characters", "an error"],
)
def test_state__is_that_of_the_renderer(make_pooled, state, shown):
    assert RendererPool([make_pooled(state)]).states() == [{"renderer": "sketch:", **shown}]


def test_state__without_an_answer_is_not_waited_for(make_pooled):
    answered = threading.Event()
    slow, quick = make_pooled(lambda: answered.wait(30) and "ok"), make_pooled(lambda: "ok", "comfyui://gpu-2")

    started_at = time.monotonic()
    states = RendererPool([slow, quick]).states(timeout=0.1)
    answered.set()

    assert [pooled["state"] for pooled in states] == ["no answer", "ok"]
    assert time.monotonic() - started_at < 5


def test_state__names_the_renderer_without_its_secrets(make_pooled):
    refused = Mock(side_effect=OSError("http://ann:secret@gpu-1:8188 refused"))

    (shown,) = RendererPool([make_pooled(refused, "comfyui://ann:secret@gpu-1:8188/?token=secret")]).states()

    assert shown == {
        "renderer": "comfyui://gpu-1:8188",
        "state": "down",
        "reason": "OSError: http://gpu-1:8188 refused",
    }


def test_renderer_that_is_down__is_probed_less_and_less_often(make_pooled, monkeypatch, caplog):
    clock = Mock(return_value=1000.0)
    monkeypatch.setattr(pooled_renderer, "time", SimpleNamespace(monotonic=clock))
    state = Mock(side_effect=OSError("no route"))
    pooled = make_pooled(state)

    pauses = []
    for _ in range(6):
        assert not pooled.is_reachable()
        while not pooled.is_free:
            clock.return_value += 1
        pauses.append(clock.return_value - 1000 - sum(pauses))
    state.side_effect = lambda: "ok"

    assert pooled.is_reachable()
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_silent_renderer__is_not_waited_for(make_pooled, monkeypatch):
    monkeypatch.setattr(pooled_renderer, "PROBE_TIMEOUT", 0.05)
    answered = threading.Event()
    pooled = make_pooled(lambda: answered.wait(30) and "ok")

    assert not pooled.is_reachable()
    answered.set()

    assert not pooled.is_free
