import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.rate_limit.algorithm import COST, RateLimitState


def test_remaining__without_use_is_the_whole_limit():
    rate_limit_state = RateLimitState(limit=60, spent=0)

    assert (rate_limit_state.remaining, rate_limit_state.reset, rate_limit_state.retry_after) == (60, 0, 0)


@pytest.mark.parametrize(
    ("limit", "spent", "remaining", "reset", "retry_after"),
    [
        (60, COST, 59, 1, 0),  # one request costs a second
        (60, COST + 1, 58, 2, 0),  # what is begun counts as used, and a wait is rounded up
        (60, 60 * COST, 0, 60, 1),
        (60, 59 * COST + 1, 0, 60, 1),
        (60, 59 * COST, 1, 59, 0),
        (7, 7 * COST, 0, 60, 9),  # 60 s / 7
        (6000, 6000 * COST, 0, 60, 1),
        (1, COST, 0, 60, 60),
    ],
)
def test_state__after_use(limit, spent, remaining, reset, retry_after):
    rate_limit_state = RateLimitState(limit, spent)

    assert (rate_limit_state.remaining, rate_limit_state.reset, rate_limit_state.retry_after) == (
        remaining,
        reset,
        retry_after,
    )


@given(limit=st.integers(1, 2**31 - 1), share=st.fractions(0, 1))
def test_retry_after__is_the_shortest_sufficient_time(limit, share):
    spent = math.floor(limit * COST * share)
    seconds = RateLimitState(limit, spent).retry_after

    def left_after(wait: int) -> int:
        return RateLimitState(limit, max(0, spent - limit * 1_000_000 * wait)).remaining

    assert left_after(seconds) >= 1
    assert seconds == 0 or left_after(seconds - 1) == 0


def test_headers__are_equal_in_both_forms():
    assert RateLimitState(limit=60, spent=58 * COST).headers() == {
        "RateLimit-Limit": "60",
        "RateLimit-Remaining": "2",
        "RateLimit-Reset": "58",
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "2",
        "X-RateLimit-Reset": "58",
    }
