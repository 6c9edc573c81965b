"""Checks during a render whether its attempt is still current, without waiting for an unavailable database."""

from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connection

from generations.models import Generation
from generations.progress.reports import ProgressThrottle, Report
from lockngen.database import retry

ANSWER_TIMEOUT = 0.25  # seconds; the next call returns a later answer
_threads = ThreadPoolExecutor(64, "attempt-monitor")  # the maximum; one thread per concurrent render is started


class AttemptMonitor:
    """Monitors one attempt. The same statement checks it and publishes its progress."""

    def __init__(self, generation: Generation, attempt: int):
        self._generation, self._attempt = generation, attempt
        self._throttle = ProgressThrottle(attempt)
        self._pending: Future[bool] | None = None

    def is_current(self, percent: int) -> bool:
        """Whether the attempt is current, as far as is known. Holds no connection afterwards."""
        if self._pending is None:
            self._pending = _threads.submit(self._check, Report.of(self._attempt, percent))
        try:
            is_current = self._pending.result(ANSWER_TIMEOUT)
        except TimeoutError:
            return True
        self._pending = None
        return is_current

    def _check(self, report: Report) -> bool:
        try:
            if self._throttle.should_publish(report):
                return self._generation.publish(report)
            return self._generation.is_current(self._attempt)
        except retry.ERRORS:
            return True  # keep the render: the database may be back before it ends
        finally:
            connection.close()
