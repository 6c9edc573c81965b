"""What becomes of a key: revoked, switched, deleted, restored, changed, rotated."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apikeys import tokens
from apikeys.audit import Action, Actor, KeyEvent, Via
from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused
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


def is_open(key: ApiKey) -> bool:
    return ApiKey.objects.usable_key(key.token) == key


@pytest.mark.parametrize("state", [*UNUSABLE, "active"])
def test_state__states_why_a_key_opens_nothing(make_key, state):
    key = make_key(**UNUSABLE.get(state, {"expires_at": timezone.now() + HOUR}))

    assert key.state == state
    assert ApiKey.all_objects.with_state().get().state == state
    assert is_open(key) == (state == "active")


def test_state__names_what_can_be_undone_last(make_key):
    key = make_key(**UNUSABLE["deleted"] | UNUSABLE["revoked"] | UNUSABLE["expired"] | UNUSABLE["inactive"])

    assert key.state == "deleted"
    key.restore()
    assert key.state == "revoked"


def test_state__of_many_keys_is_asked_once(make_key, django_assert_num_queries):
    for _ in range(3):
        make_key()

    with django_assert_num_queries(1):
        assert [key.state for key in ApiKey.objects.with_state()] == ["active"] * 3


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__is_won_once_and_noted_once(make_key, change):
    key = make_key(**BEFORE.get(change, {}))
    same = ApiKey.all_objects.get()

    assert getattr(key, change)(by=ANN)
    won = getattr(same, change)(by=ANN)

    assert not (won[0] if change == "delete" else won)
    assert events(key) == [TRANSITIONS[change]]
    event = key.events.get()
    assert (event.via, event.actor, event.user_id, event.prefix, event.name) == ("admin", "ann", 7, key.prefix, "Test")


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__of_many_shows_how_many_it_changed(make_key, change):
    key, other = make_key(**BEFORE.get(change, {})), make_key(**BEFORE.get(change, {}))
    getattr(other, change)()

    count = getattr(ApiKey.all_objects.all(), change)(by=ANN)

    assert (count[0] if change == "delete" else count) == 1
    assert events(key) == events(other) == [TRANSITIONS[change]]


@pytest.mark.parametrize("change", TRANSITIONS)
def test_transition__is_undone_where_it_can_t_be_noted(make_key, change, monkeypatch):
    def fail(*_, **__):
        raise InterruptedError

    key = make_key(**BEFORE.get(change, {}))
    before = ApiKey.all_objects.values().get()
    monkeypatch.setattr(type(KeyEvent.objects), "record", fail)

    with pytest.raises(InterruptedError):
        getattr(key, change)()

    assert ApiKey.all_objects.values().get() == before


@pytest.mark.parametrize("change", ["revoke", "deactivate", "delete"])
def test_transition__closes_the_key_at_once(key, change):
    getattr(key, change)()

    assert not is_open(key)


@pytest.mark.parametrize("change", ["restore", "activate", "revoke"])
def test_revoked__stays_so(key, change):
    key.revoke()
    key.deactivate()
    key.delete()
    revoked_at = key.revoked_at

    getattr(key, change)()

    assert key.revoked_at == revoked_at
    assert not is_open(key)


def test_deactivated__opens_again_when_it_is_activated(key):
    key.deactivate()
    key.activate()

    assert is_open(key)


def test_deleted__opens_again_when_it_is_restored(key):
    key.delete()
    key.restore()

    assert is_open(key)


def test_change__notes_old_and_new_of_what_differs(key):
    assert key.change(name="Ann", rate_limit=100, expires_at=None, by=ANN)

    assert key.name == "Ann"
    assert [(event.action, event.changes) for event in key.events.all()] == [("changed", {"name": ["Test", "Ann"]})]


def test_change__of_nothing_is_no_event(key):
    assert not key.change(name=key.name, is_active=True)

    assert events(key) == []


def test_change__of_the_switch_is_the_same_as_the_switch(key):
    assert key.change(is_active=False)
    assert key.change(is_active=True, rate_limit=5)

    assert events(key) == [Action.DEACTIVATED, Action.CHANGED, Action.ACTIVATED]
    assert (key.is_active, key.rate_limit) == (True, 5)


def test_issue__is_noted(db):
    key, token = ApiKey.objects.issue(name="Ann", by=ANN)

    event = key.events.get()
    assert (event.action, event.by) == (Action.CREATED, "ann (admin)")
    assert token not in str(vars(event))
    assert key.key_hash not in str(vars(event))


def test_rotate__makes_a_key_that_works_beside_the_old_one_for_the_grace(make_key):
    key = make_key(name="Ann", rate_limit=7)

    new, token = key.rotate(grace=HOUR, by=ANN)

    assert ApiKey.objects.usable_key(token) == new
    assert is_open(key)
    assert (new.name, new.rate_limit, new.expires_at) == ("Ann", 7, None)
    assert (new.rotated_from, key.replaced_by) == (key, new)
    assert abs(key.expires_at - timezone.now() - HOUR) < timedelta(seconds=10)


def test_rotate__is_noted_of_both(key):
    new, token = key.rotate(grace=HOUR, by=ANN)

    (rotated,), (created,) = key.events.all(), new.events.all()
    assert (rotated.action, created.action) == (Action.ROTATED, Action.CREATED)
    assert rotated.changes["replaced_by"] == new.prefix
    assert created.changes == {"rotated_from": key.prefix}
    assert token not in str(rotated.changes)


def test_rotate__without_grace_closes_the_old_key(key):
    key.rotate(grace=timedelta(0))

    assert not is_open(key)
    assert key.state == "expired"


@pytest.mark.parametrize("left", [timedelta(minutes=5), timedelta(days=5)])
def test_rotate__never_lengthens_a_life(make_key, left):
    end = timezone.now() + left
    key = make_key(expires_at=end)

    new, _ = key.rotate(grace=timedelta(days=1))

    assert new.expires_at == end
    assert key.expires_at == end if left < timedelta(days=1) else key.expires_at < end


def test_rotate__takes_another_end_for_the_new_key(make_key):
    end = timezone.now() + timedelta(days=30)

    new, _ = make_key(expires_at=timezone.now() + HOUR).rotate(grace=HOUR, expires_at=end)

    assert new.expires_at == end


def test_rotate__refuses_a_negative_grace(key):
    with pytest.raises(ValueError, match="negative"):
        key.rotate(grace=-HOUR)


@pytest.mark.parametrize("state", UNUSABLE)
def test_rotate__refuses_a_dead_key(make_key, state):
    key = make_key(**UNUSABLE[state])

    with pytest.raises(TransitionRefused, match=f"is {state}: only an active key"):
        key.rotate(grace=HOUR)

    assert ApiKey.all_objects.count() == 1


def test_rotate__happens_once_to_a_key(key):
    new, _ = key.rotate(grace=HOUR)

    with pytest.raises(TransitionRefused, match="rotated before") as refused:
        ApiKey.objects.get(pk=key.pk).rotate(grace=HOUR)

    assert new.prefix in str(refused.value)
    assert ApiKey.objects.count() == 2


def test_rotate__again_is_done_to_the_new_key(key):
    new, _ = key.rotate(grace=HOUR)
    newest, token = new.rotate(grace=timedelta(0))

    assert ApiKey.objects.usable_key(token) == newest
    assert newest.rotated_from.rotated_from == key


def test_rotate__keeps_the_kind_of_the_token(make_key):
    _, token = make_key(token=tokens.make(tokens.TEST)).rotate(grace=HOUR)

    assert tokens.is_test(token)


def test_rotate__leaves_nothing_behind_where_it_fails(key, monkeypatch):
    monkeypatch.setattr(ApiKey, "differences", None)

    with pytest.raises(TypeError):
        key.rotate(grace=HOUR)

    assert ApiKey.objects.get().expires_at is None
    assert not KeyEvent.objects.exists()


@pytest.mark.parametrize(
    "statement", ["UPDATE apikeys_keyevent SET actor = 'bob'", "DELETE FROM apikeys_keyevent", "TRUNCATE {table}"]
)
def test_audit__is_changed_by_nobody(key, statement):
    key.revoke(by=ANN)
    with connection.cursor() as cursor:
        # The tests' own clean-up needs this one to be off.
        cursor.execute("ALTER TABLE apikeys_keyevent ENABLE TRIGGER keyevent_is_never_emptied")

    with pytest.raises(Exception, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table="apikeys_keyevent"))

    assert events(key) == [Action.REVOKED]


def test_audit__outlives_the_key(key):
    id = key.pk
    key.revoke(by=ANN)
    key.hard_delete(by=ANN)

    assert not ApiKey.all_objects.exists()
    assert list(KeyEvent.objects.filter(key_id=id).order_by("id").values_list("action", "prefix")) == [
        (Action.REVOKED, key.prefix),
        (Action.REMOVED, key.prefix),
    ]


def test_audit__notes_each_of_many_that_are_removed(make_key):
    make_key(), make_key()

    ApiKey.all_objects.all().hard_delete(by=ANN)

    assert list(KeyEvent.objects.values_list("action", "actor")) == [(Action.REMOVED, "ann")] * 2


@pytest.mark.parametrize("state", UNUSABLE)
def test_audit__has_that_the_development_key_was_brought_back(settings, state):
    settings.DEBUG = True
    key = ApiKey.objects.ensure_development(by=ANN)
    ApiKey.objects.update(**UNUSABLE[state])

    ApiKey.objects.ensure_development(by=ANN)
    ApiKey.objects.ensure_development(by=ANN)

    assert events(key) == [Action.CREATED, Action.CHANGED]
    assert set(key.events.last().changes) & set(UNUSABLE[state])
