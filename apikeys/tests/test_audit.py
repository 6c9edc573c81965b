"""The audit log of keys."""

import pytest
from django.db import connection, transaction

from apikeys.audit import Action, Actor, KeyEvent, Via
from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE

pytestmark = pytest.mark.django_db
ANN = Actor(Via.ADMIN, "ann", 7)


def events(key: ApiKey) -> list[str]:
    return list(key.events.order_by("id").values_list("action", flat=True))


def test_issue__is_recorded_without_secrets(db):
    key, token = ApiKey.objects.issue(name="Ann", by=ANN)

    event = key.events.get()
    assert (event.action, event.by) == (Action.CREATED, "ann (admin)")
    assert token not in str(vars(event))
    assert key.key_hash not in str(vars(event))


def test_revoke__records_the_cancelled_generations(key, make_generation):
    make_generation()

    key.revoke(cancel_pending=True, by=ANN)

    assert events(key) == [Action.REVOKED, Action.CANCELLED]
    assert key.events.order_by("id").last().changes == {"generations": 1}


@pytest.mark.parametrize(
    "statement", ["UPDATE apikeys_keyevent SET actor = 'bob'", "DELETE FROM apikeys_keyevent", "TRUNCATE {table}"]
)
def test_audit_log__is_append_only(key, statement):
    key.revoke(by=ANN)
    # The tests' own clean-up needs this one to be off.
    connection.query("ALTER TABLE apikeys_keyevent ENABLE TRIGGER keyevent_is_never_emptied")

    with pytest.raises(Exception, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table="apikeys_keyevent"))

    assert events(key) == [Action.REVOKED]


def test_audit_log__outlives_the_key(key):
    id = key.pk
    key.revoke(by=ANN)
    key.hard_delete(by=ANN)

    assert not ApiKey.all_objects.exists()
    assert list(KeyEvent.objects.filter(key_id=id).order_by("id").values_list("action", "prefix")) == [
        (Action.REVOKED, key.prefix),
        (Action.REMOVED, key.prefix),
    ]


def test_hard_delete__of_many_keys_is_recorded_for_each(make_key):
    make_key(), make_key()

    ApiKey.all_objects.all().hard_delete(by=ANN)

    assert list(KeyEvent.objects.values_list("action", "actor")) == [(Action.REMOVED, "ann")] * 2


@pytest.mark.parametrize("state", UNUSABLE)
def test_ensure_development__is_recorded_if_it_changes_the_key(settings, state):
    settings.DEBUG = True
    key = ApiKey.objects.ensure_development(by=ANN)
    ApiKey.objects.update(**UNUSABLE[state])

    ApiKey.objects.ensure_development(by=ANN)
    ApiKey.objects.ensure_development(by=ANN)

    assert events(key) == [Action.CREATED, Action.CHANGED]
    assert set(key.events.last().changes) & set(UNUSABLE[state])
