"""How renderers say how they are, and what becomes of those that don't."""

import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from generations.renderers import states


@pytest.fixture
def renderer(monkeypatch):
    """Let the renderer be one that tells its state by this function."""

    def use(state=None) -> None:
        monkeypatch.setattr(states, "_renderer", lambda url: SimpleNamespace(**({"state": state} if state else {})))

    return use


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, {"state": "ok"}),
        (lambda: "busy", {"state": "busy"}),
        (lambda: {"state": "loading", "vram_mb": 24576}, {"state": "loading", "vram_mb": 24576}),
        (lambda: {"queue": 3}, {"state": "ok", "queue": 3}),
        (Mock(side_effect=OSError("no\nroute")), {"state": "down", "reason": "OSError: no route"}),
    ],
    ids=["no way to tell", "a word", "a dict", "figures alone", "an error"],
)
def test_renderer__tells_its_state(renderer, settings, state, told):
    settings.RENDERER_URL = "sketch:?seconds=3"
    renderer(state)

    assert states.states() == [{"renderer": "sketch:", **told}]


def test_renderer__that_does_not_answer_is_not_waited_for(renderer):
    answered = threading.Event()
    renderer(lambda: answered.wait(30) and "ok")

    started = time.monotonic()
    (told,) = states.states(timeout=0.1)
    answered.set()

    assert told["state"] == "no answer"
    assert time.monotonic() - started < 5


def test_renderer__is_named_without_its_secrets(renderer, settings):
    settings.RENDERER_URL = "comfyui://ann:secret@gpu-1:8188/?token=secret"
    renderer(Mock(side_effect=OSError("http://ann:secret@gpu-1:8188 refused")))

    (told,) = states.states()

    assert told == {"renderer": "comfyui://gpu-1:8188", "state": "down", "reason": "OSError: http://gpu-1:8188 refused"}
