"""Rotation: a new key replaces an old one."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import tokens
from apikeys.audit import Action, Actor, KeyEvent, Via
from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused
from apikeys.tests.test_models import UNUSABLE

pytestmark = pytest.mark.django_db
ANN = Actor(Via.ADMIN, "ann", 7)
HOUR = timedelta(hours=1)


def is_usable(key: ApiKey) -> bool:
    return ApiKey.objects.usable_key(key.token) == key


def test_rotate__both_keys_are_usable_during_the_grace(make_key):
    key = make_key(name="Ann", rate_limit=7)

    new, token = key.rotate(grace=HOUR, by=ANN)

    assert ApiKey.objects.usable_key(token) == new
    assert is_usable(key)
    assert (new.name, new.rate_limit, new.expires_at) == ("Ann", 7, None)
    assert (new.rotated_from, key.replaced_by) == (key, new)
    assert abs(key.expires_at - timezone.now() - HOUR) < timedelta(seconds=10)


def test_rotate__is_recorded_for_both_keys(key):
    new, token = key.rotate(grace=HOUR, by=ANN)

    (rotated,), (created,) = key.events.all(), new.events.all()
    assert (rotated.action, created.action) == (Action.ROTATED, Action.CREATED)
    assert rotated.changes["replaced_by"] == new.prefix
    assert created.changes == {"rotated_from": key.prefix}
    assert token not in str(rotated.changes)


def test_rotate__without_grace_expires_the_old_key(key):
    key.rotate(grace=timedelta(0))

    assert not is_usable(key)
    assert key.state == "expired"


@pytest.mark.parametrize("left", [timedelta(minutes=5), timedelta(days=5)])
def test_rotate__never_postpones_the_expiry(make_key, left):
    expires_at = timezone.now() + left
    key = make_key(expires_at=expires_at)

    new, _ = key.rotate(grace=timedelta(days=1))

    assert new.expires_at == expires_at
    assert key.expires_at == expires_at if left < timedelta(days=1) else key.expires_at < expires_at


def test_rotate__sets_another_expiry_for_the_new_key(make_key):
    expires_at = timezone.now() + timedelta(days=30)

    new, _ = make_key(expires_at=timezone.now() + HOUR).rotate(grace=HOUR, expires_at=expires_at)

    assert new.expires_at == expires_at


def test_rotate__refuses_a_negative_grace(key):
    with pytest.raises(ValueError, match="negative"):
        key.rotate(grace=-HOUR)


@pytest.mark.parametrize("state", UNUSABLE)
def test_rotate__refuses_an_unusable_key(make_key, state):
    key = make_key(**UNUSABLE[state])

    with pytest.raises(TransitionRefused, match=f"is {state}: only an active key"):
        key.rotate(grace=HOUR)

    assert ApiKey.all_objects.count() == 1


def test_rotate__refuses_a_rotated_key(key):
    new, _ = key.rotate(grace=HOUR)

    with pytest.raises(TransitionRefused, match="rotated before") as refused:
        ApiKey.objects.get(pk=key.pk).rotate(grace=HOUR)

    assert new.prefix in str(refused.value)
    assert ApiKey.objects.count() == 2


def test_rotate__of_the_new_key(key):
    new, _ = key.rotate(grace=HOUR)
    newest, token = new.rotate(grace=timedelta(0))

    assert ApiKey.objects.usable_key(token) == newest
    assert newest.rotated_from.rotated_from == key


def test_rotate__keeps_the_kind_of_the_token(make_key):
    _, token = make_key(token=tokens.make(tokens.TEST)).rotate(grace=HOUR)

    assert tokens.is_test(token)


def test_rotate__rolls_back_on_failure(key, monkeypatch):
    monkeypatch.setattr(ApiKey, "differences", None)

    with pytest.raises(TypeError):
        key.rotate(grace=HOUR)

    assert ApiKey.objects.get().expires_at is None
    assert not KeyEvent.objects.exists()
