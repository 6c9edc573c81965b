"""Caches which models a renderer supports and their largest seeds. Refreshed in the background."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock, Thread

from generations.renderers.base import MAX_SEED, Renderer

logger = logging.getLogger(__name__)

KEPT_FOR = 60.0  # seconds until an answer is refreshed
RETRIED_AFTER = 10.0  # seconds, if there was no answer


@dataclass(frozen=True, slots=True)
class Support:
    """What a renderer lacks for one model. Without an answer, nothing counts as missing."""

    missing: tuple[str, ...] = ()
    """Such as "the checkpoint sd_xl_base_1.0.safetensors"."""
    largest_seed: int = MAX_SEED


class SupportCache:
    """The latest answer of a renderer. Callers choose how long they wait for a new one."""

    def __init__(self, renderer: Renderer):
        self._renderer = renderer
        self._lock = Lock()
        self._known: Mapping[str, Support] = {}
        self._asking: Thread | None = None
        self._renewed_at = float("-inf")  # of the monotonic clock
        self.was_asked = not hasattr(renderer, "support")

    def of(self, model: str) -> Support:
        return self._known.get(model, Support())

    def refresh(self, wait: float = 0, *, now: bool = False) -> None:
        """Query the renderer if the answer is old or `now` is set; wait at most `wait` seconds."""
        if not hasattr(self._renderer, "support"):
            return
        with self._lock:
            is_old = time.monotonic() - self._renewed_at > (KEPT_FOR if self._known else RETRIED_AFTER)
            if (now or is_old) and not (self._asking and self._asking.is_alive()):
                self._asking = Thread(target=self._ask, name="renderer-support", daemon=True)
                self._asking.start()
            asking = self._asking
        if asking:
            asking.join(wait)

    def _ask(self) -> None:
        try:
            self._known = self._renderer.support()
        except Exception as error:  # renderers raise exceptions of their own
            # Unknown is not missing: the models stay available until there is an answer.
            self._known = {}
            logger.debug("A renderer's models are unknown: %s", error)
        self._renewed_at = time.monotonic()
        self.was_asked = True
