"""A key's rate limit in whole numbers, and its response headers. Standard library only.

The algorithm is GCRA. It stores the units that a key has used and not yet regained. A request costs 60,000,000; a key
regains `rate_limit` units a microsecond, which is `rate_limit` requests a minute. So no number is ever rounded.
"""

from dataclasses import dataclass

COST = 60_000_000  # units of one request, and the microseconds in which a whole limit is regained
SECOND = 1_000_000  # microseconds

# What is left of `bucket.spent` at the time `now` with the limit `rate`, as SQL. If the clock was set back, no time has
# passed, and a key never owes more than one whole limit.
OWED = f"""greatest(0, least(bucket.spent, rate * {COST}) - rate * greatest(0, least({COST},
            extract(epoch FROM now - bucket.measured_at) * {SECOND}))::bigint)"""


@dataclass(frozen=True)
class RateLimitState:
    limit: int  # requests a minute, and the size of a burst
    spent: int  # used and not yet regained

    @property
    def remaining(self) -> int:
        """Requests that would be admitted now."""
        return (self.limit * COST - self.spent) // COST

    @property
    def reset(self) -> int:
        """Seconds until the whole limit is available again."""
        return self._refill_seconds(self.spent)

    @property
    def retry_after(self) -> int:
        """Seconds until one request would be admitted."""
        return self._refill_seconds(max(0, self.spent + COST - self.limit * COST))

    def headers(self) -> dict[str, str]:
        values = {"Limit": self.limit, "Remaining": self.remaining, "Reset": self.reset}
        return {f"{form}-{name}": str(value) for form in ("RateLimit", "X-RateLimit") for name, value in values.items()}

    def _refill_seconds(self, amount: int) -> int:
        return -(-amount // (self.limit * SECOND))  # rounded up, so that a call after this time is admitted
