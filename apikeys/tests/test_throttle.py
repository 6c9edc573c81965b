import pytest

from apikeys import free_calls
from apikeys.rate_limit import throttle
from apikeys.rate_limit.throttle import Throttle
from generations.tests.support.calls import assert_problem


@pytest.fixture
def clock(monkeypatch):
    """The throttle's clock; clock[0] is its time."""
    clock = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: clock[0])
    return clock


def test_throttle__allows_a_burst_and_then_the_rate(clock):
    limit = Throttle(6)

    assert [limit.retry_after("a") for _ in range(8)] == [0] * 6 + [10, 10]
    clock[0] += 10
    assert [limit.retry_after("a") for _ in range(2)] == [0, 10]
    clock[0] += 3600
    assert [limit.retry_after("a") for _ in range(7)] == [0] * 6 + [10]


def test_throttle__counts_each_key_separately(clock):
    limit = Throttle(1)

    assert [limit.retry_after(key) for key in "aab"] == [0, 60, 0]


def test_key__has_a_limit_of_its_own(api, monkeypatch):
    monkeypatch.setattr(free_calls, "throttle", Throttle(3))

    answers = [api.get("/api/v1/key") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert_problem(answers[-1], 429, "Try again")
    assert answers[-1]["Retry-After"] == "20"
    assert api.get("/api/v1/generations").status_code == 200
