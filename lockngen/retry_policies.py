"""The retry policies: what is retried, how often, for how long, and with which pauses. Each caller names one.

A value that is a string is the name of the setting that holds it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from tenacity import BaseRetrying, RetryCallState, Retrying, stop_after_attempt, stop_before_delay


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff: each pause is `factor` times the one before, up to `max_pause`."""

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

    def retrying(self, retry: Callable[[RetryCallState], bool], kind: type = Retrying, **options: Any) -> BaseRetrying:
        """Call a function, and call it again while `retry`, a predicate of tenacity's, is true of its result."""
        stop = stop_after_attempt(_value(self.attempts)) | stop_before_delay(_value(self.timeout))
        options = {"stop": stop, "wait": lambda state: self.pause(state.attempt_number), "reraise": True, **options}
        return kind(retry=retry, **options)


def _value(value: float | str) -> float:
    if isinstance(value, str):
        from django.conf import settings  # not above: the embedded server runs before there are settings

        return getattr(settings, value)
    return value


# The comment above a policy states what is retried.

# The database. Which errors are transient: lockngen/database/retry.py.

# A statement or transaction of a request, after a transient error.
DATABASE_REQUEST = RetryPolicy(
    attempts="DB_RETRY_ATTEMPTS", timeout="DB_RETRY_TIMEOUT", first_pause="DB_RETRY_BACKOFF", max_pause=1, jitter=1
)
# A statement or transaction of a worker, after a transient error.
DATABASE_WORKER = RetryPolicy(timeout="DB_WORKER_RETRY_TIMEOUT", first_pause="DB_RETRY_BACKOFF", max_pause=1, jitter=1)
# The probe of the circuit breaker.
DATABASE_PROBE = RetryPolicy(first_pause=0.25, max_pause=0.5)
# A process's first connection.
DATABASE_STARTUP = RetryPolicy(timeout="DB_STARTUP_TIMEOUT", first_pause=0.5, max_pause=0.5)
# A connection of the pool, by psycopg_pool, which adds a jitter of 10% and no upper limit.
DATABASE_POOL = RetryPolicy(timeout="DB_POOL_TIMEOUT", first_pause=0.25, factor=1.25)
# The connection of LISTEN, from the loss of the previous one on.
DATABASE_LISTENER = RetryPolicy(first_pause=0.25, max_pause=5)
# The lock of migrate, while another migrate holds it. The timeout is the default of --wait.
MIGRATION_LOCK = RetryPolicy(timeout=600, first_pause=0.2, max_pause=0.2)
# A connection to the embedded server while it starts, recovers or stops.
EMBEDDED_SERVER = RetryPolicy(timeout=120, first_pause=0.05, max_pause=0.05)

# The queue.

# A statement of procrastinate's worker other than the fetch of a job, after a transient error.
QUEUE_STATEMENT = RetryPolicy(timeout="DB_WORKER_RETRY_TIMEOUT", first_pause=0.5, max_pause=0.5)
# The connection of a worker's LISTEN.
QUEUE_LISTENER = RetryPolicy(first_pause=0.5, max_pause=0.5)
# A render that raised an error, by the queue; see also RENDER_MAX_ATTEMPTS.
RENDER_JOB = RetryPolicy(first_pause=1, max_pause=60, jitter=0.5)
# A webhook that its receiver didn't accept: 12 attempts within 11 to 22 hours.
WEBHOOK = RetryPolicy(attempts=12, first_pause=5, max_pause=14_400, factor=4, jitter=0.5)
# The job of a webhook whose receiver is busy with others, or that raised an unexpected error.
WEBHOOK_JOB = RetryPolicy(first_pause=1, max_pause=60, jitter=0.5)

# The image storage.

# Storing an image while the storage is unavailable.
STORAGE = RetryPolicy(timeout="STORAGE_RETRY_TIMEOUT", first_pause=0.5, max_pause=5, jitter=1)
# A request to S3, by botocore, whose mode "standard" makes these pauses.
S3_CALL = RetryPolicy(attempts=3, first_pause=0.05, max_pause=20, jitter=1)

# Renderers.

# The probe of a renderer that is down, before it gets a render.
HEALTH_PROBE = RetryPolicy(first_pause=5, max_pause=60)
# A call of a render while ComfyUI is unavailable. The timeout is the default of the option `patience`.
COMFYUI_CALL = RetryPolicy(timeout=60, first_pause=0.2, max_pause=2, jitter=1)
# The WebSocket of a render. The first pause follows a connection that was lost.
COMFYUI_EVENTS = RetryPolicy(first_pause=1, max_pause=30)
