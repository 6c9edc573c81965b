"""A key's rate limit in whole numbers, and its response headers. Standard library only.

The algorithm is GCRA, kept as what a key has used up and not got back yet. `rate_limit` requests a minute cost 1 minute
each, in microseconds, and every microsecond gives `rate_limit` of these back, so that nothing is ever rounded, whatever
the rate. The statement that takes a unit is in statement.py; this reads what it returns.
"""

from dataclasses import dataclass

COST = 60_000_000  # of one request; also how many microseconds it takes to get a whole limit back
SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class RateLimitState:
    """The state of a key's rate limit."""

    limit: int  # requests a minute, and at once from rest
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
