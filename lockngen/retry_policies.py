"""The retry policies: what is retried, how often, for how long, and with which pauses. Each caller names one.

A value that is a string is the name of the setting that holds it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, Retrying, stop_after_attempt, stop_before_delay


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff: each pause is `factor` times the one before, up to `max_pause`."""

    retried: str  # for the reader
    attempts: float | str = inf  # including the first
    timeout: float | str = inf  # seconds from the start of the first attempt to that of the last
    first_pause: float | str  # seconds
    max_pause: float = inf  # seconds
    factor: float = 2.0
    jitter: float = 0.0  # the part of a pause that is random: 1 is full jitter, 0.5 is equal jitter

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failed attempts in a row."""
        try:
            pause = _value(self.first_pause) * self.factor ** (failures - 1)
        except OverflowError:
            pause = inf
        return min(pause, self.max_pause) * random.uniform(1 - self.jitter, 1)

    def retrying(self, retry: Callable[[RetryCallState], bool], **options: Any) -> Retrying:
        """Call a function, and call it again while `retry`, a predicate of tenacity's, is true of its result."""
        return Retrying(**{**self._options(retry), **options})

    def retrying_async(self, retry: Callable[[RetryCallState], bool], **options: Any) -> AsyncRetrying:
        return AsyncRetrying(**{**self._options(retry), **options})

    def _options(self, retry: Callable[[RetryCallState], bool]) -> dict[str, Any]:
        return {
            "retry": retry,
            "stop": stop_after_attempt(_value(self.attempts)) | stop_before_delay(_value(self.timeout)),
            "wait": lambda state: self.pause(state.attempt_number),
            "reraise": True,
        }


def _value(value: float | str) -> float:
    if isinstance(value, str):
        from django.conf import settings  # not above: the embedded server runs before there are settings

        return getattr(settings, value)
    return value


# The database. Which errors are transient: lockngen/database/retry.py.
DATABASE_REQUEST = RetryPolicy(
    retried="a statement or transaction of a request, after a transient error",
    attempts="DB_RETRY_ATTEMPTS",
    timeout="DB_RETRY_TIMEOUT",
    first_pause="DB_RETRY_BACKOFF",
    max_pause=1,
    jitter=1,
)
DATABASE_WORKER = RetryPolicy(
    retried="a statement or transaction of a worker, after a transient error",
    timeout="DB_WORKER_RETRY_TIMEOUT",
    first_pause="DB_RETRY_BACKOFF",
    max_pause=1,
    jitter=1,
)
DATABASE_PROBE = RetryPolicy(
    retried="the probe that ends the time in which requests fail at once",
    first_pause=0.25,
    max_pause=0.5,
)
DATABASE_STARTUP = RetryPolicy(
    retried="a process's first connection",
    timeout="DB_STARTUP_TIMEOUT",
    first_pause=0.5,
    max_pause=0.5,
)
DATABASE_POOL = RetryPolicy(
    retried="a connection of the pool, by psycopg_pool, which adds a jitter of 10% and no upper limit",
    timeout="DB_POOL_TIMEOUT",
    first_pause=0.25,
    factor=1.25,
)
DATABASE_LISTENER = RetryPolicy(
    retried="the connection of LISTEN, from the loss of the previous one on",
    first_pause=0.25,
    max_pause=5,
)
MIGRATION_LOCK = RetryPolicy(
    retried="the lock, while another migrate holds it",
    timeout=600,  # the default of --wait
    first_pause=0.2,
    max_pause=0.2,
)
EMBEDDED_SERVER = RetryPolicy(
    retried="a connection while the server starts, recovers or stops",
    timeout=120,
    first_pause=0.05,
    max_pause=0.05,
)

# The queue.
QUEUE_STATEMENT = RetryPolicy(
    retried="a statement of procrastinate's worker other than the fetch of a job, after a transient error",
    timeout="DB_WORKER_RETRY_TIMEOUT",
    first_pause=0.5,
    max_pause=0.5,
)
QUEUE_LISTENER = RetryPolicy(
    retried="the connection of a worker's LISTEN",
    first_pause=0.5,
    max_pause=0.5,
)
RENDER_JOB = RetryPolicy(
    retried="a render that raised an error, by the queue; see also RENDER_MAX_ATTEMPTS",
    first_pause=1,
    max_pause=60,
    jitter=0.5,
)

# The image storage.
STORAGE = RetryPolicy(
    retried="storing an image while the storage is unavailable",
    timeout="STORAGE_RETRY_TIMEOUT",
    first_pause=0.5,
    max_pause=5,
    jitter=1,
)
S3_CALL = RetryPolicy(
    retried='a request to S3, by botocore, whose mode "standard" makes these pauses',
    attempts=3,
    first_pause=0.05,
    max_pause=20,
    jitter=1,
)

# Renderers.
HEALTH_PROBE = RetryPolicy(
    retried="the probe of a renderer that is down, before it gets a render",
    first_pause=5,
    max_pause=60,
)
COMFYUI_CALL = RetryPolicy(
    retried="a call of a render while ComfyUI is unavailable",
    timeout=60,  # the default of the option `patience`
    first_pause=0.2,
    max_pause=2,
    jitter=1,
)
COMFYUI_EVENTS = RetryPolicy(
    retried="the WebSocket of a render; the first pause follows a connection that was lost",
    first_pause=1,
    max_pause=30,
)
