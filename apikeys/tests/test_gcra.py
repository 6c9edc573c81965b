"""The rate limit in PostgreSQL compared with the textbook's algorithm in Python."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.models import ApiKey
from apikeys.rate_limit.bucket import RateLimitBucket
from apikeys.tests.support.gcra import Gcra

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def seconds(moment: datetime) -> Fraction:
    return Fraction((moment - EPOCH) // timedelta(microseconds=1), 1_000_000)


def test_gcra__admits_a_whole_limit_from_rest_and_then_one_at_a_time():
    gcra = Gcra(60)

    assert [gcra.admits(0) for _ in range(61)] == [True] * 60 + [False]
    assert [gcra.admits(Fraction(1, 2)), gcra.admits(1), gcra.admits(1), gcra.admits(2)] == [False, True, False, True]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    rate_limit=st.one_of(st.integers(1, 20), st.sampled_from([60, 100, 997, 2**31 - 1])),
    gaps=st.lists(st.one_of(st.just(0), st.integers(0, 120_000_000)), max_size=25),
)
def test_authenticate__equals_the_textbook(key, rate_limit, gaps):
    """Any rate and any pauses, in microseconds: the same decisions and the same numbers."""
    RateLimitBucket.objects.all().delete()
    ApiKey.objects.update(rate_limit=rate_limit)
    model, passed = Gcra(rate_limit), timedelta(0)

    for gap in [0, *gaps]:
        # As if the last call had been that much earlier.
        RateLimitBucket.objects.update(measured_at=F("measured_at") - timedelta(microseconds=gap))
        passed += timedelta(microseconds=gap)
        auth_result = ApiKey.objects.authenticate(key.token)

        now = seconds(RateLimitBucket.objects.get().measured_at + passed)
        assert auth_result.is_admitted == model.admits(now)
        figures = auth_result.rate_limit_state
        assert (figures.remaining, figures.reset) == (model.remaining(now), model.reset(now))
        assert figures.retry_after == model.retry_after(now)
