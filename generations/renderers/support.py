"""A cache of the models that a renderer supports and of their largest seeds, refreshed in the background."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock, Thread

from generations.renderers.base import MAX_SEED, Renderer

logger = logging.getLogger(__name__)

REFRESH_AFTER, RETRY_AFTER = 60.0, 10.0  # seconds after an answer, and after none
EXCLUDED_FOR = 60.0  # seconds after a render found that something is missing


@dataclass(frozen=True, slots=True)
class Support:
    """What a renderer lacks for one model. Without an answer, nothing is considered missing."""

    missing: tuple[str, ...] = ()
    """Such as "the checkpoint sd_xl_base_1.0.safetensors"."""
    largest_seed: int = MAX_SEED


class SupportCache:
    """The latest answer of a renderer. Each caller sets how long it waits for a new one."""

    def __init__(self, renderer: Renderer):
        self._renderer = renderer
        self._lock = Lock()
        self._known: Mapping[str, Support] = {}
        self._excluded: dict[str, tuple[str, float]] = {}  # by model: what is missing, and until when
        self._query_thread: Thread | None = None
        self._refreshed_at = float("-inf")  # of the monotonic clock
        self.was_queried = not hasattr(renderer, "support")

    def of(self, model: str) -> Support:
        support = self._known.get(model, Support())
        missing, until = self._excluded.get(model, ("", 0.0))
        return replace(support, missing=(missing,)) if time.monotonic() < until else support

    def exclude(self, model: str, missing: str) -> None:
        """Consider something missing that only a render finds, whatever the renderer's answer."""
        self._excluded[model] = missing, time.monotonic() + EXCLUDED_FOR

    def refresh(self, wait: float = 0, *, now: bool = False) -> None:
        """Query the renderer if the answer is old or `now` is set; wait at most `wait` seconds."""
        if not hasattr(self._renderer, "support"):
            return
        with self._lock:
            is_old = time.monotonic() - self._refreshed_at > (REFRESH_AFTER if self._known else RETRY_AFTER)
            if (now or is_old) and not (self._query_thread and self._query_thread.is_alive()):
                self._query_thread = Thread(target=self._query, name="renderer-support", daemon=True)
                self._query_thread.start()
            thread = self._query_thread
        if thread:
            thread.join(wait)

    def _query(self) -> None:
        try:
            self._known = self._renderer.support()
        except Exception as error:  # renderers raise exceptions of their own
            # The models stay available until there is an answer.
            self._known = {}
            logger.debug("A renderer's models are unknown: %s", error)
        self._refreshed_at = time.monotonic()
        self.was_queried = True
