"""How the renderers are, for people who look after them."""

import re
import time
from functools import cache
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from generations import renderers
from generations.renderers.base import Renderer

TIMEOUT = 1.0  # seconds
LONGEST_REASON = 200  # characters


def states(timeout: float = TIMEOUT) -> list[dict[str, Any]]:
    """Each renderer with its state and whatever else it tells of itself. All of them are asked at once."""
    questions = [Question(url) for url in [settings.RENDERER_URL]]
    deadline = time.monotonic() + timeout
    for question in questions:
        question.join(max(0, deadline - time.monotonic()))
    return [{"renderer": _name(question.url), **question.answer} for question in questions]


class Question(Thread):
    """A renderer that is asked for its state: nobody has to wait for the answer, not even the process's end."""

    def __init__(self, url: str):
        super().__init__(name="renderer-state", daemon=True)
        self.url = url
        self.answer: dict[str, Any] = {"state": "no answer"}
        self.start()

    def run(self) -> None:
        try:
            answer = ask(_renderer(self.url))
        except Exception as error:  # every renderer has kinds of its own
            answer = {"state": "down", "reason": _reason(error)}
        self.answer = answer


def ask(renderer: Renderer) -> dict[str, Any]:
    """A renderer tells its state as a word or a dict, or has no way to tell it and so none to be out of order."""
    state = renderer.state() if hasattr(renderer, "state") else "ok"
    return {"state": "ok", **state} if isinstance(state, dict) else {"state": str(state)}


@cache
def _renderer(url: str) -> Renderer:
    return renderers.from_url(url)


def _name(url: str) -> str:
    """Without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else f"{parts.scheme}:"


def _reason(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return re.sub(r"//[^/\s]*@", "//", text)[:LONGEST_REASON]
