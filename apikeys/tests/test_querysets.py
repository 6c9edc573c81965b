"""States and transitions of keys."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.audit import Action, Actor, KeyEvent, Via
from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE

pytestmark = pytest.mark.django_db
ANN = Actor(Via.ADMIN, "ann", 7)
HOUR = timedelta(hours=1)
TRANSITIONS = {
    "revoke": Action.REVOKED,
    "deactivate": Action.DEACTIVATED,
    "activate": Action.ACTIVATED,
    "delete": Action.DELETED,
    "restore": Action.RESTORED,
}
BEFORE = {"activate": UNUSABLE["inactive"], "restore": UNUSABLE["deleted"]}


def events(key: ApiKey) -> list[str]:
    return list(key.events.order_by("id").values_list("action", flat=True))


def is_usable(key: ApiKey) -> bool:
    return ApiKey.objects.usable_key(key.token) == key


@pytest.mark.parametrize("state", [*UNUSABLE, "active"])
def test_state__is_the_reason_a_key_is_unusable(make_key, state):
    key = make_key(**UNUSABLE.get(state, {"expires_at": timezone.now() + HOUR}))

    assert key.state == state
    assert ApiKey.all_objects.with_state().get().state == state
    assert is_usable(key) == (state == "active")


def test_state__deleted_precedes_revoked(make_key):
    key = make_key(**UNUSABLE["deleted"] | UNUSABLE["revoked"] | UNUSABLE["expired"] | UNUSABLE["inactive"])

    assert key.state == "deleted"
    key.restore()
    assert key.state == "revoked"


def test_with_state__one_query_for_many_keys(make_key, django_assert_num_queries):
    for _ in range(3):
        make_key()

    with django_assert_num_queries(1):
        assert [key.state for key in ApiKey.objects.with_state()] == ["active"] * 3


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__applies_and_is_recorded_once(make_key, change):
    key = make_key(**BEFORE.get(change, {}))
    same = ApiKey.all_objects.get()

    assert getattr(key, change)(by=ANN)
    applied = getattr(same, change)(by=ANN)

    assert not (applied[0] if change == "delete" else applied)
    assert events(key) == [TRANSITIONS[change]]
    event = key.events.get()
    assert (event.via, event.actor, event.user_id, event.prefix, event.name) == ("admin", "ann", 7, key.prefix, "Test")


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__returns_the_number_of_changed_keys(make_key, change):
    key, other = make_key(**BEFORE.get(change, {})), make_key(**BEFORE.get(change, {}))
    getattr(other, change)()

    count = getattr(ApiKey.all_objects.all(), change)(by=ANN)

    assert (count[0] if change == "delete" else count) == 1
    assert events(key) == events(other) == [TRANSITIONS[change]]


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__rolls_back_if_it_cannot_be_recorded(make_key, change, monkeypatch):
    def fail(*_, **__):
        raise InterruptedError

    key = make_key(**BEFORE.get(change, {}))
    before = ApiKey.all_objects.values().get()
    monkeypatch.setattr(type(KeyEvent.objects), "record", fail)

    with pytest.raises(InterruptedError):
        getattr(key, change)()

    assert ApiKey.all_objects.values().get() == before


@pytest.mark.parametrize("change", ["revoke", "deactivate", "delete"])
def test_transition__makes_the_key_unusable_at_once(key, change):
    getattr(key, change)()

    assert not is_usable(key)


@pytest.mark.parametrize("change", ["restore", "activate", "revoke"])
def test_revoke__is_permanent(key, change):
    key.revoke()
    key.deactivate()
    key.delete()
    revoked_at = key.revoked_at

    getattr(key, change)()

    assert key.revoked_at == revoked_at
    assert not is_usable(key)


@pytest.mark.parametrize(("change", "reversal"), [("deactivate", "activate"), ("delete", "restore")])
def test_reversal__makes_the_key_usable_again(key, change, reversal):
    getattr(key, change)()
    getattr(key, reversal)()

    assert is_usable(key)


def test_activate__does_not_apply_to_a_revoked_key(make_key):
    key = make_key(**UNUSABLE["inactive"] | UNUSABLE["revoked"])

    assert not key.activate()

    assert not key.is_active
    assert events(key) == []


def test_change__records_old_and_new_values_that_differ(key):
    assert key.change(name="Ann", rate_limit=100, expires_at=None, by=ANN)

    assert key.name == "Ann"
    assert [(event.action, event.changes) for event in key.events.all()] == [("changed", {"name": ["Test", "Ann"]})]


def test_change__without_a_difference_records_no_event(key):
    assert not key.change(name=key.name, is_active=True)

    assert events(key) == []


def test_change__of_is_active_records_a_transition(key):
    assert key.change(is_active=False)
    assert key.change(is_active=True, rate_limit=5)

    assert events(key) == [Action.DEACTIVATED, Action.CHANGED, Action.ACTIVATED]
    assert (key.is_active, key.rate_limit) == (True, 5)
