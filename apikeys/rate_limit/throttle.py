"""A rate limit for calls that the database doesn't count, separate in each web process. Standard library only."""

import math
import threading
import time
from collections.abc import Hashable

MINUTE = 60.0


class Throttle:
    """GCRA in memory: `rate` calls a minute for each key, with a burst of the same size."""

    def __init__(self, rate: int):
        self.rate = rate
        self._lock = threading.Lock()
        self._due_at: dict[Hashable, float] = {}  # when the whole limit of a key is available again

    def retry_after(self, key: Hashable) -> int:
        """Count a call of the key. Returns 0, or the seconds until one is allowed again."""
        with self._lock:
            now = time.monotonic()
            due_at = max(now, self._due_at.get(key, now)) + MINUTE / self.rate
            if due_at > now + MINUTE:
                return math.ceil(due_at - now - MINUTE)
            self._due_at[key] = due_at
            return 0
