"""How far an attempt is, and when that is worth telling. Standard library only."""

import time
from collections.abc import Callable
from dataclasses import dataclass

LARGEST_PERCENT = 99  # of an attempt; 100 is what a completed generation has
REPEAT_AFTER = 5.0  # seconds after which it is told again though nothing changed, for whoever began to listen late


@dataclass(frozen=True, slots=True)
class Report:
    """What an attempt tells of itself. Steps are those of the renderer, where it counts any."""

    attempt: int
    percent: int = 0  # 0 to LARGEST_PERCENT
    step: int | None = None
    steps: int | None = None

    @classmethod
    def of(cls, attempt: int, percent: int) -> "Report":
        """What a renderer's progress says."""
        step, steps = getattr(percent, "step", None), getattr(percent, "steps", None)
        return cls(attempt, max(0, min(LARGEST_PERCENT, int(percent))), step, steps)


class ProgressThrottle:
    """Tells what is new from what was told already. How often it is asked is how often anything is told."""

    def __init__(self, attempt: int, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last_sent, self._last_sent_at = (
            Report(attempt),
            clock(),
        )  # an attempt begins at 0, which goes without saying

    def should_publish(self, report: Report) -> bool:
        """Whether this is to be told. If so, it counts as told."""
        if report == self._last_sent and self._clock() - self._last_sent_at < REPEAT_AFTER:
            return False
        self._last_sent, self._last_sent_at = report, self._clock()
        return True
