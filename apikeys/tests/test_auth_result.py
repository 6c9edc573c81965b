"""Which keys the statement finds: states, tokens and the record of use."""

from datetime import timedelta
from itertools import combinations_with_replacement, product

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.rate_limit.bucket import RateLimitBucket
from apikeys.tests.test_models import UNUSABLE

MINUTE = timedelta(minutes=1)


def authenticate(key: ApiKey):
    return ApiKey.objects.authenticate(key.token)


def test_authenticate__returns_all_fields_of_the_key(make_key):
    key = make_key(name="Ann", rate_limit=7, max_pending=3, expires_at=timezone.now() + MINUTE)

    found = authenticate(key).key

    for field in ApiKey._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(key, field.attname)
    found.name = "Bea"
    found.save()
    assert ApiKey.objects.get().name == "Bea"


@pytest.mark.parametrize("state", UNUSABLE)
def test_unusable_key__is_rejected_with_its_state_and_not_counted(make_key, state):
    key = make_key(**UNUSABLE[state])

    auth_result = authenticate(key)

    assert (auth_result.is_admitted, auth_result.reason, auth_result.key, auth_result.rate_limit_state) == (
        False,
        state,
        key,
        None,
    )
    assert not RateLimitBucket.objects.exists()
    assert ApiKey.all_objects.get().last_used_at is None


def test_expiry__is_exact_by_the_clock_of_the_database(key):
    ApiKey.objects.update(expires_at=Now() + timedelta(seconds=30))
    assert authenticate(key).is_admitted

    ApiKey.objects.update(expires_at=Now())

    assert authenticate(key).reason == "expired"


def test_usable__agrees_with_the_statement_for_all_combinations(make_key):
    now = timezone.now()
    ends = [None, now - MINUTE, now + MINUTE]
    deletions = [{}, {"is_deleted": True, "deleted_at": now}]
    states = list(product([True, False], [None, now], ends, deletions))
    keys = [make_key(is_active=on, revoked_at=off, expires_at=end, **gone) for on, off, end, gone in states]

    usable = set(ApiKey.all_objects.usable())

    assert len(keys) == 24
    assert [authenticate(key).is_admitted for key in keys] == [key in usable for key in keys]
    assert len(usable) == 2


def test_unknown_token__differs_from_a_limited_key(key, django_assert_num_queries):
    token = tokens.make()

    with django_assert_num_queries(1):
        auth_result = ApiKey.objects.authenticate(token)

    assert (auth_result.reason, auth_result.prefix, auth_result.key) == ("unknown", token[:14], None)


@pytest.mark.parametrize("token", ["", "x", "lg_live_", "lg_live_" + "0" * 49, "Ünïcode", "\x00"])
def test_malformed_token__costs_no_query_and_is_not_kept(db, django_assert_num_queries, token):
    with django_assert_num_queries(0):
        auth_result = ApiKey.objects.authenticate(token)

    assert (auth_result.reason, auth_result.prefix) == ("malformed", "")


def test_development_token__costs_no_query_without_debug(make_key, settings, django_assert_num_queries):
    settings.DEBUG = False
    key = make_key(token=tokens.make(tokens.TEST))

    with django_assert_num_queries(0):
        auth_result = authenticate(key)

    assert (auth_result.reason, auth_result.key) == ("development", None)


def used_at(key: ApiKey):
    return ApiKey.objects.values_list("last_used_at", flat=True).get(pk=key.pk)


def test_last_use__is_recorded_once_a_minute(make_key):
    other, key = make_key(), make_key(last_used_at=timezone.now() - timedelta(seconds=61))

    authenticate(key)
    first = used_at(key)
    authenticate(key)

    assert abs(timezone.now() - first) < timedelta(seconds=10)
    assert used_at(key) == first
    assert used_at(other) is None


def test_last_use__is_recorded_at_the_first_call(key):
    authenticate(key)

    assert used_at(key)


@pytest.mark.parametrize("states", list(combinations_with_replacement(UNUSABLE, 2)), ids="-".join)
def test_reason__equals_the_state_of_the_key(make_key, states):
    key = make_key(**UNUSABLE[states[0]] | UNUSABLE[states[1]])

    assert authenticate(key).reason == key.state
