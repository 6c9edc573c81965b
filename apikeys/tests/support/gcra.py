"""GCRA as the textbook has it ("virtual scheduling", ITU-T I.371, annex A), in exact fractions of a second.

It is written independently of the code: tests compare the decisions of both.
"""

import math
from fractions import Fraction

PERIOD = 60  # seconds


class Gcra:
    def __init__(self, rate_limit: int):
        self.increment = Fraction(PERIOD, rate_limit)
        self.tolerance = PERIOD - self.increment  # so that from rest `rate_limit` are admitted at once
        self.theoretical_arrival = None

    def admits(self, now: Fraction) -> bool:
        expected = self._expected(now)
        if expected - now > self.tolerance:
            return False
        self.theoretical_arrival = expected + self.increment
        return True

    def remaining(self, now: Fraction) -> int:
        return math.floor((PERIOD - (self._expected(now) - now)) / self.increment)

    def reset(self, now: Fraction) -> int:
        return math.ceil(self._expected(now) - now)

    def retry_after(self, now: Fraction) -> int:
        return math.ceil(max(0, self._expected(now) - now - self.tolerance))

    def _expected(self, now: Fraction) -> Fraction:
        return now if self.theoretical_arrival is None else max(now, self.theoretical_arrival)
