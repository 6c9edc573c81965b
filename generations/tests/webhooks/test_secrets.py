"""The secrets that sign webhooks: a client's own, by the API."""

import re
from base64 import b64decode
from datetime import datetime, timedelta

import pytest

from apikeys.models import ApiKey
from generations.webhooks.signature import WebhookSecret

pytestmark = pytest.mark.django_db
SECRET = "/api/v1/webhooks/secret"


def test_secret__is_made_on_first_need_and_stays(api):
    first, second = api.get(SECRET), api.get(SECRET)

    secret = first.json()["secret"]
    assert first.json() == second.json() == {"secret": secret, "previous_expires_at": None}
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]+={0,2}", secret)
    assert secret.count("_") == 1
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert first["Cache-Control"] == "no-store"


def test_secret__belongs_to_one_key(api, make_key, client_of):
    assert api.get(SECRET).json() != client_of(make_key()).get(SECRET).json()


def test_secret__is_kept_by_a_key_that_replaces_another(api, key, client_of):
    first = api.get(SECRET).json()["secret"]
    for _ in range(2):
        key, token = key.rotate(grace=timedelta(hours=1))
        key.token = token

    assert client_of(key).get(SECRET).json()["secret"] == first
    assert WebhookSecret.objects.count() == 1


def test_rotate__replaces_the_secret_with_a_grace_for_the_previous(api, key):
    before = api.get(SECRET).json()["secret"]

    answer = api.post(f"{SECRET}/rotate").json()

    assert answer["secret"] != before
    until = datetime.fromisoformat(answer["previous_expires_at"])
    assert abs(until - datetime.now(until.tzinfo) - timedelta(hours=24)) < timedelta(minutes=1)
    assert WebhookSecret.objects.of(key).valid == [answer["secret"], before]


def test_rotate__twice_ends_the_first_secret_at_once(api, key):
    before = api.get(SECRET).json()["secret"]

    api.post(f"{SECRET}/rotate"), api.post(f"{SECRET}/rotate")

    assert before not in WebhookSecret.objects.of(key).valid


def test_secret__is_in_no_representation(key):
    secret = WebhookSecret.objects.of(key)

    assert secret.secret not in f"{secret} {secret!r} {[secret]}"


def test_secret__ends_with_its_key(key):
    WebhookSecret.objects.of(key)

    ApiKey.all_objects.filter(pk=key.pk).hard_delete()

    assert WebhookSecret.objects.count() == 0
