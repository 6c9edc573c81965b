from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN

NOW = timezone.now()
UNUSABLE = {
    "inactive": {"is_active": False},
    "revoked": {"revoked_at": NOW},
    "expired": {"expires_at": NOW - timedelta(seconds=1)},
    "deleted": {"is_deleted": True, "deleted_at": NOW},
}


def test_issue__stores_the_hash_and_not_the_token(db):
    key, token = ApiKey.objects.issue(name="Ann", rate_limit=5)

    stored = ApiKey.objects.filter(pk=key.pk).values().get()
    assert stored["key_hash"] == tokens.digest(token)
    assert stored["prefix"] == tokens.visible(token)
    assert token not in str(stored)


@pytest.mark.parametrize("state", UNUSABLE)
def test_ensure_development__makes_the_key_usable_again(db, settings, state):
    settings.DEBUG = True
    ApiKey.objects.ensure_development()
    ApiKey.objects.update(**UNUSABLE[state])

    key = ApiKey.objects.ensure_development()

    assert ApiKey.objects.usable_key(DEVELOPMENT_TOKEN) == key
    assert ApiKey.all_objects.count() == 1


def test_key_hash__is_unique_among_deleted_keys_too(key, make_key):
    key.delete()

    with pytest.raises(IntegrityError, match="apikey_key_hash_unique"), transaction.atomic():
        make_key(token=key.token)


@pytest.mark.parametrize("digest", ["x" * 64, "A" * 64, "a" * 63])
def test_key_hash__is_64_hex_digits(make_key, digest):
    with pytest.raises(IntegrityError, match="apikey_key_hash_is_sha256"), transaction.atomic():
        make_key(key_hash=digest)


def test_delete__hides_a_key_with_generations(key, make_generation):
    generation = make_generation()

    assert key.delete() == (1, {"apikeys.ApiKey": 1})

    generation.refresh_from_db()
    assert generation.api_key == key  # the foreign key still reaches the deleted key
    assert not ApiKey.objects.exists()


def test_delete__of_a_deleted_key_changes_nothing(key):
    key.delete()
    deleted_at = key.deleted_at

    assert ApiKey.all_objects.all().delete() == (0, {})

    assert ApiKey.all_objects.get().deleted_at == deleted_at


def test_hard_delete__is_refused_if_the_key_has_generations(key, make_generation):
    make_generation().delete()

    with pytest.raises(ProtectedError):
        key.hard_delete()


def test_str__contains_only_the_prefix_of_the_token(key):
    assert str(key) == f"Test ({key.token[:14]}…)"
    assert key.token[14:20] not in repr(key)
