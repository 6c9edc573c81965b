"""Checks during a render whether its attempt is still current, without waiting for an unavailable database."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connection

from generations.images import formats
from generations.models import Generation
from generations.progress.reports import ProgressThrottle, Report
from lockngen.database import retry

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 0.25  # seconds; the next call returns a later answer
_threads = ThreadPoolExecutor(64, "attempt-monitor")  # the maximum; one thread per concurrent render is started


class AttemptMonitor:
    """Monitors one attempt. The same statement checks it and publishes its progress."""

    def __init__(self, generation: Generation, attempt: int):
        self._generation, self._attempt = generation, attempt
        self._throttle = ProgressThrottle(attempt)
        self._pending: Future[bool] | None = None
        self._previewed: bytes | None = None  # what the renderer sent for the latest preview
        self._previews = 0

    def is_current(self, percent: int) -> bool:
        """Whether the attempt is current, as far as is known. Holds no connection afterwards."""
        if self._pending is None:
            self._pending = _threads.submit(self._check, percent)
        try:
            is_current = self._pending.result(ANSWER_TIMEOUT)
        except TimeoutError:
            return True
        self._pending = None
        return is_current

    def _check(self, percent: int) -> bool:
        try:
            preview = self._new_preview(getattr(percent, "preview", None))
            report = Report.of(self._attempt, percent, self._previews or None)
            if self._throttle.should_publish(report):
                return self._generation.publish(report, preview)
            return self._generation.is_current(self._attempt)
        except retry.ERRORS:
            return True  # keep the render: the database may be back before it ends
        finally:
            connection.close()

    def _new_preview(self, image: bytes | None) -> bytes | None:
        """The preview to publish. None if there is no new one or it can't be used, which doesn't affect the render."""
        if image is None or image is self._previewed:
            return None
        self._previewed = image
        try:
            preview = formats.preview(image)
        except ValueError as error:
            logger.debug("Generation %s: a preview is ignored: %s", self._generation.pk, error)
            return None
        self._previews += 1
        return preview
