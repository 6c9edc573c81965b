"""Progress of an attempt and how often it is published. Standard library only."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_PERCENT = 99  # of an attempt; 100 is what a completed generation has
REPEAT_AFTER = 5.0  # seconds until an unchanged report is published again, for late subscribers


@dataclass(frozen=True, slots=True)
class Report:
    """An attempt's progress. The steps are the renderer's, if it counts any."""

    attempt: int
    percent: int = 0  # 0 to MAX_PERCENT
    step: int | None = None
    steps: int | None = None
    preview: int | None = None
    """The number of the attempt's latest preview, if it has one."""

    @classmethod
    def of(cls, attempt: int, percent: int, preview: int | None = None) -> "Report":
        """The report for a renderer's progress."""
        step, steps = getattr(percent, "step", None), getattr(percent, "steps", None)
        return cls(attempt, max(0, min(MAX_PERCENT, int(percent))), step, steps, preview)


class ProgressThrottle:
    """Suppresses reports that were already published. The rate is up to the caller."""

    def __init__(self, attempt: int, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last_sent, self._last_sent_at = Report(attempt), clock()  # subscribers assume 0 at the start

    def should_publish(self, report: Report) -> bool:
        """Whether to publish this report; if so, it is recorded as published."""
        if report == self._last_sent and self._clock() - self._last_sent_at < REPEAT_AFTER:
            return False
        self._last_sent, self._last_sent_at = report, self._clock()
        return True
