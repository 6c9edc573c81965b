"""A renderer of the pool, with its health and load in this process."""

import logging
import re
import time
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from generations.renderers.base import ModelMissing, Renderer, RendererFailure, RendererUnavailable
from generations.renderers.support import SupportCache
from lockngen import retry_policies
from lockngen.plain import plain, plain_values

logger = logging.getLogger(__name__)

COOL_DOWN = 10.0  # seconds in which a renderer is the last choice after a failure
PROBE_TIMEOUT = 2.0  # seconds
LONGEST_PAUSE = 600.0  # seconds that a renderer may require
LONGEST_REASON = 200  # characters


class PooledRenderer:
    def __init__(self, url: str, renderer: Renderer):
        self.renderer = renderer
        self.name = _name(url)
        self.support = SupportCache(renderer)
        self.rendering = 0
        self._down_until = self._cooling_down_until = 0.0  # of the monotonic clock
        self._failed_probes = 0

    @property
    def is_free(self) -> bool:
        return self.rendering < self.renderer.concurrency and time.monotonic() >= self._down_until

    @property
    def load(self) -> tuple[bool, float]:
        """Sort key: the smallest is chosen."""
        return time.monotonic() < self._cooling_down_until, self.rendering / self.renderer.concurrency

    def is_reachable(self) -> bool:
        """Probe the renderer. After a failure it is skipped for a pause that doubles each time."""
        probe = HealthProbe(self.renderer)
        probe.join(PROBE_TIMEOUT)
        if probe.is_healthy:
            if self._failed_probes:
                logger.info("The renderer %s is available again.", self.name)
            self._failed_probes = 0
            return True
        if not self._failed_probes:
            logger.warning("The renderer %s is unavailable: %s", self.name, probe.result.get("reason", "no answer"))
        self._failed_probes += 1
        self._down_until = time.monotonic() + retry_policies.HEALTH_PROBE.pause(self._failed_probes)
        return False

    def supports(self, model: str) -> bool:
        """Whether it has the model and nothing is known to be missing."""
        return model in self.renderer.models and not self.support.of(model).missing

    def cool_down(self, failure: RendererFailure) -> None:
        self._cooling_down_until = time.monotonic() + COOL_DOWN
        if isinstance(failure, RendererUnavailable) and failure.retry_after:
            self._down_until = time.monotonic() + min(failure.retry_after, LONGEST_PAUSE)

    def exclude(self, model: str, failure: ModelMissing) -> None:
        """Give the renderer no more requests for a model for a while."""
        logger.warning("The renderer %s lacks %s: %s", self.name, failure, failure.reason)
        self.support.exclude(model, str(failure))

    def can_resume(self, id: UUID) -> bool:
        is_supported = hasattr(self.renderer, "can_resume") and time.monotonic() >= self._down_until
        return is_supported and self.renderer.can_resume(id)


class HealthProbe(Thread):
    """Queries a renderer's state in a daemon thread, so that callers need not wait for the answer."""

    def __init__(self, renderer: Renderer):
        super().__init__(name="renderer-state", daemon=True)
        self.renderer = renderer
        self.is_healthy = False
        self.result: dict[str, Any] = {"state": "no answer"}
        self.start()

    def run(self) -> None:
        try:
            self.result, self.is_healthy = _state(self.renderer), True
        except Exception as error:  # renderers raise exceptions of their own
            self.result = {"state": "down", "reason": _reason(error)}


def _state(renderer: Renderer) -> dict[str, Any]:
    """The state as a dict. A renderer without `state()` counts as healthy."""
    state = renderer.state() if hasattr(renderer, "state") else "ok"
    return plain_values({"state": "ok", **state} if isinstance(state, dict) else {"state": str(state)})


def _name(url: str) -> str:
    """The URL without its user, password, path and options, which may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else f"{parts.scheme}:"


def _reason(error: Exception) -> str:
    text = error.reason if isinstance(error, RendererFailure) else f"{type(error).__name__}: {error}"
    return plain(re.sub(r"//[^/\s]*@", "//", text), LONGEST_REASON)
