"""Whether a render is still wanted, asked while it goes on. It waits for no database that is away."""

from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connection

from generations.models import Generation
from generations.progress.reports import News, Report
from lockngen.database import retry

ANSWERED_WITHIN = 0.25  # seconds; a later answer is taken when the next question comes
_threads = ThreadPoolExecutor(64, "look")  # at most; there are as many as renders at once


class Lookout:
    """One attempt's. What it has to tell is told by the statement that asks."""

    def __init__(self, generation: Generation, attempt: int):
        self._generation, self._attempt = generation, attempt
        self._news = News(attempt)
        self._look: Future[bool] | None = None

    def is_wanted(self, percent: int) -> bool:
        """Whether the attempt counts, as far as is known. No connection is held when this returns."""
        if self._look is None:
            self._look = _threads.submit(self._ask, Report.of(self._attempt, percent))
        try:
            is_wanted = self._look.result(ANSWERED_WITHIN)
        except TimeoutError:
            return True
        self._look = None
        return is_wanted

    def _ask(self, report: Report) -> bool:
        try:
            if self._news.is_in(report):
                return self._generation.tell(report)
            return self._generation.is_held(self._attempt)
        except retry.ERRORS:
            return True  # no reason to throw a render away: the database may be back before it ends
        finally:
            connection.close()
