"""Whether a render is still wanted, asked while it goes on. It waits for no database that is away."""

from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connection

from generations.models import Generation
from generations.progress.reports import ProgressThrottle, Report
from lockngen.database import retry

ANSWER_TIMEOUT = 0.25  # seconds; a later answer is taken when the next question comes
_threads = ThreadPoolExecutor(64, "look")  # at most; there are as many as renders at once


class AttemptMonitor:
    """One attempt's. What it has to tell is told by the statement that asks."""

    def __init__(self, generation: Generation, attempt: int):
        self._generation, self._attempt = generation, attempt
        self._throttle = ProgressThrottle(attempt)
        self._pending: Future[bool] | None = None

    def is_current(self, percent: int) -> bool:
        """Whether the attempt counts, as far as is known. No connection is held when this returns."""
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
            return True  # no reason to throw a render away: the database may be back before it ends
        finally:
            connection.close()
