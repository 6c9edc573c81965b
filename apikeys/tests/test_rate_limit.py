"""The limit that the statement applies to a key."""

from datetime import timedelta

from django.db import connection
from django.db.models import F

from apikeys.models import ApiKey
from apikeys.rate_limit.bucket import RateLimitBucket
from apikeys.rate_limit.usage import requests_last_minute

MINUTE = timedelta(minutes=1)


def authenticate(key: ApiKey, **options):
    return ApiKey.objects.authenticate(key.token, **options)


def let_pass(key: ApiKey, time: timedelta) -> None:
    """Move the last call into the past."""
    RateLimitBucket.objects.filter(pk=key.pk).update(measured_at=F("measured_at") - time)


def test_authenticate__takes_a_unit_in_one_statement(key, django_assert_num_queries):
    authenticate(key)  # records the use of the key

    with django_assert_num_queries(1):
        auth_result = authenticate(key)

    assert (auth_result.is_admitted, auth_result.reason, auth_result.prefix) == (True, "admitted", key.prefix)
    assert (auth_result.rate_limit_state.limit, auth_result.rate_limit_state.remaining) == (100, 98)
    assert auth_result.key == key


def test_authenticate__limited_has_retry_after(make_key):
    key = make_key(rate_limit=3)

    auth_results = [authenticate(key) for _ in range(5)]

    assert [auth_result.reason for auth_result in auth_results] == ["admitted"] * 3 + ["limited"] * 2
    assert [auth_result.rate_limit_state.remaining for auth_result in auth_results] == [2, 1, 0, 0, 0]
    assert auth_results[-1].key == key
    assert 15 <= auth_results[-1].rate_limit_state.retry_after <= 20
    assert 55 <= auth_results[-1].rate_limit_state.reset <= 60


def test_refill__is_a_sixtieth_of_the_limit_per_second(make_key):
    key = make_key(rate_limit=6)
    for _ in range(6):
        authenticate(key)

    let_pass(key, timedelta(seconds=30))

    assert [authenticate(key).is_admitted for _ in range(4)] == [True] * 3 + [False]


def test_refill__never_exceeds_the_limit(make_key):
    key = make_key(rate_limit=3)
    authenticate(key)

    let_pass(key, timedelta(days=3650))

    assert [authenticate(key).is_admitted for _ in range(4)] == [True] * 3 + [False]


def test_refill__does_not_overflow_at_the_highest_rate(make_key):
    key = make_key(rate_limit=2**31 - 1)
    authenticate(key)

    let_pass(key, timedelta(days=36500))

    assert authenticate(key).rate_limit_state.remaining == 2**31 - 2


def test_free_call__is_not_counted_and_not_limited(make_key):
    key = make_key(rate_limit=1)

    assert authenticate(key, units=0).rate_limit_state.remaining == 1
    assert authenticate(key).rate_limit_state.remaining == 0
    assert [authenticate(key, units=0).is_admitted for _ in range(3)] == [True] * 3
    assert not authenticate(key).is_admitted


def test_no_limit__writes_no_bucket(make_key):
    key = make_key(rate_limit=0)

    auth_results = [authenticate(key) for _ in range(3)]

    assert [(auth_result.is_admitted, auth_result.rate_limit_state) for auth_result in auth_results] == [
        (True, None)
    ] * 3
    assert not RateLimitBucket.objects.exists()


def test_raised_limit__keeps_the_usage(make_key):
    key = make_key(rate_limit=2)
    authenticate(key), authenticate(key)

    ApiKey.objects.update(rate_limit=5)

    assert [authenticate(key).is_admitted for _ in range(4)] == [True] * 3 + [False]


def test_lowered_limit__is_available_again_within_a_minute(make_key):
    key = make_key(rate_limit=100)
    for _ in range(100):
        authenticate(key)

    ApiKey.objects.update(rate_limit=1)

    assert not authenticate(key).is_admitted
    assert 55 <= authenticate(key).rate_limit_state.retry_after <= 60
    let_pass(key, MINUTE)
    assert authenticate(key).is_admitted


def test_clock_set_back__counts_as_no_time(make_key):
    key = make_key(rate_limit=2)
    authenticate(key), authenticate(key)

    let_pass(key, timedelta(days=-1))  # the last call was in the future

    assert authenticate(key).rate_limit_state.retry_after in range(25, 31)
    let_pass(key, MINUTE)
    assert [authenticate(key).is_admitted for _ in range(3)] == [True, True, False]


def test_emptied_table__restores_the_whole_limit(make_key):
    key = make_key(rate_limit=1)
    authenticate(key)

    RateLimitBucket.objects.all().delete()

    assert [authenticate(key).is_admitted for _ in range(2)] == [True, False]


def test_requests_last_minute__are_those_not_regained(make_key):
    key, unused, unlimited = make_key(rate_limit=6), make_key(), make_key(rate_limit=0)
    for _ in range(4):
        authenticate(key)
    authenticate(unlimited)

    assert requests_last_minute([key, unused, unlimited]) == {key.pk: 4, unused.pk: 0}
    let_pass(key, timedelta(seconds=15))
    assert requests_last_minute([key]) == {key.pk: 3}
    let_pass(key, MINUTE)
    assert requests_last_minute([key]) == {key.pk: 0}


def test_bucket__does_not_prevent_hard_delete(key):
    authenticate(key)
    key.delete()
    key.restore()

    key.hard_delete()

    assert not RateLimitBucket.objects.exists()


def test_bucket__does_not_prevent_removal_in_sql(key):
    authenticate(key)

    connection.query("DELETE FROM apikeys_apikey")
    connection.query("SET CONSTRAINTS ALL IMMEDIATE")

    assert RateLimitBucket.objects.count() == 1
