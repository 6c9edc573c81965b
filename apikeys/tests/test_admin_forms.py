"""The admin of keys: the forms that create and change a key."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from uuid_utils.compat import uuid7

from apikeys.audit import Action, KeyEvent
from apikeys.models import ApiKey
from apikeys.tests.support.admin import ADD, EVENTS, KEYS, events, filled_in, page_of, text_of, tokens_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def add(admin_client):
    def add(**fields):
        data = {**filled_in(admin_client.get(ADD)), "name": "Ann", "rate_limit": "7", **fields}
        return admin_client.post(ADD, data, follow=True)

    return add


def test_add__token_is_only_in_the_response(add, admin_client):
    response = add()

    (token,) = tokens_in(response)
    key = ApiKey.objects.usable_key(token)
    assert (key.name, key.rate_limit) == ("Ann", 7)
    assert "no-store" in response["Cache-Control"]
    assert response.redirect_chain == []
    assert token not in str([session.get_decoded() for session in Session.objects.all()])
    assert token not in str(admin_client.cookies)
    for page in (KEYS, page_of(key), f"{KEYS}{key.pk}/history/", EVENTS):
        assert token not in text_of(admin_client.get(page))


def test_add__is_recorded_with_the_user(add):
    add()

    assert events(ApiKey.objects.get()) == [(Action.CREATED, "admin")]


def test_add__repeated_creates_no_second_key(add):
    once = str(uuid7())
    add(once=once)

    response = add(once=once)

    assert "already exists" in text_of(response)
    assert tokens_in(response) == []
    assert str(ApiKey.objects.get().pk) == once
    assert KeyEvent.objects.count() == 1


@pytest.mark.parametrize(("field", "wrong"), [("name", ""), ("rate_limit", "-1"), ("once", "x"), ("expires_at_0", "x")])
def test_add__refuses_an_invalid_field(add, field, wrong):
    response = add(**{field: wrong})

    assert "errornote" in text_of(response)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("age", [timedelta(days=400), timedelta(seconds=1)])
def test_add__refuses_an_expiry_in_the_past(add, age):
    expires_at = timezone.now() - age

    response = add(expires_at_0=f"{expires_at:%Y-%m-%d}", expires_at_1=f"{expires_at:%H:%M:%S}")

    assert "This time is in the past. Choose a later one, or revoke the key." in text_of(response)
    assert not ApiKey.objects.exists()


def test_change__refuses_an_expiry_in_the_past(admin_client, key):
    data = {**filled_in(admin_client.get(page_of(key))), "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}

    response = admin_client.post(page_of(key), data)

    assert "This time is in the past" in text_of(response)
    assert ApiKey.objects.get(pk=key.pk).expires_at is None


def test_change__of_an_expired_key_keeps_its_expiry(admin_client, make_key):
    expires_at = timezone.now().replace(microsecond=0) - timedelta(days=1)
    key = make_key(expires_at=expires_at)
    shown = {"expires_at_0": f"{expires_at:%Y-%m-%d}", "expires_at_1": f"{expires_at:%H:%M:%S}"}
    data = {**filled_in(admin_client.get(page_of(key))), **shown, "name": "Renamed"}

    admin_client.post(page_of(key), data)

    key.refresh_from_db()
    assert (key.name, key.expires_at) == ("Renamed", expires_at)


def test_add__ignores_hash_and_state(add):
    add(key_hash="0" * 64, prefix="lg_live_Mine01", revoked_at="2020-01-01", is_deleted="on")

    key = ApiKey.objects.get()
    assert key.state == "active"
    assert key.key_hash != "0" * 64
    assert key.prefix != "lg_live_Mine01"


def test_change__is_recorded_with_old_and_new_values(admin_client, key):
    data = {**filled_in(admin_client.get(page_of(key))), "name": "Ann", "rate_limit": "5"}
    del data["is_active"]

    admin_client.post(page_of(key), data)

    assert events(key) == [(Action.CHANGED, "admin"), (Action.DEACTIVATED, "admin")]
    assert key.events.order_by("id").first().changes == {"name": ["Test", "Ann"], "rate_limit": [100, 5]}
