from dataclasses import fields

import pytest
from django.conf import settings
from tenacity import retry_if_exception_type

from lockngen import retry_policies
from lockngen.retry_policies import RetryPolicy

POLICIES = {name: policy for name, policy in vars(retry_policies).items() if isinstance(policy, RetryPolicy)}


def make_policy(**values) -> RetryPolicy:
    return RetryPolicy(**{"first_pause": 1, **values})


@pytest.mark.parametrize(
    ("values", "pauses"),
    [
        ({"max_pause": 60}, [1, 2, 4, 60, 60]),
        ({"first_pause": 0.5, "max_pause": 0.5}, [0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"factor": 1.5, "max_pause": 2}, [1, 1.5, 2, 2, 2]),
    ],
)
def test_pause__grows_up_to_the_maximum(values, pauses):
    policy = make_policy(**values)

    assert [policy.pause(failures) for failures in (1, 2, 3, 7, 10_000)] == pauses


@pytest.mark.parametrize(("jitter", "shortest"), [(0.5, 4), (1, 0)])
def test_pause__is_shortened_at_random(jitter, shortest):
    policy = make_policy(jitter=jitter)

    pauses = [policy.pause(4) for _ in range(200)]

    assert shortest <= min(pauses) < shortest + 1
    assert 7 < max(pauses) <= 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"attempts": 3}, [1, 2]),
        ({"timeout": 10}, [1, 2, 4, 8]),  # the pauses take no time here
        ({"timeout": 0}, []),
        ({"attempts": 4, "timeout": 4}, [1, 2]),
    ],
)
def test_retrying__stops_after_its_attempts_and_its_timeout(values, expected):
    pauses = []

    def fail() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        make_policy(**values).retrying(retry_if_exception_type(TimeoutError), sleep=pauses.append)(fail)

    assert pauses == expected


def test_retrying__reads_the_settings_at_each_call(settings):
    settings.DB_RETRY_ATTEMPTS = 2
    policy, calls = make_policy(attempts="DB_RETRY_ATTEMPTS", first_pause=0), []

    def fail() -> None:
        calls.append(1)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        policy.retrying(retry_if_exception_type(TimeoutError))(fail)

    assert len(calls) == 2


@pytest.mark.parametrize("name", POLICIES)
def test_policies__name_settings_that_exist(name):
    values = [getattr(POLICIES[name], field.name) for field in fields(RetryPolicy)]

    assert all(hasattr(settings, value) for value in values if isinstance(value, str))
