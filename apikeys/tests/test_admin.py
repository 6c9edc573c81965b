"""The admin of keys: a token is shown once, and what is done is done by the model's own methods and noted."""

from datetime import date, timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from apikeys import chart, tokens
from apikeys.audit import Action, KeyEvent
from apikeys.models import ApiKey
from apikeys.rate_limit import usage
from apikeys.tests.test_models import UNUSABLE
from generations.status import Status

pytestmark = pytest.mark.django_db
KEYS, EVENTS = "/admin/apikeys/apikey/", "/admin/apikeys/keyevent/"
ADD = KEYS + "add/"
ACTIONS = ("rotate", "deactivate", "activate", "revoke", "restore")


def page_of(key: ApiKey) -> str:
    return f"{KEYS}{key.pk}/change/"


def text_of(answer) -> str:
    return unescape(answer.content.decode())


def tokens_in(answer) -> list[str]:
    return [word for word in text_of(answer).split('"') if tokens.is_valid(word)]


def filled_in(answer) -> dict[str, str]:
    """What a browser would send of a page's form as it is."""
    form = answer.context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in values.items() if value is not None}


def events(key: ApiKey) -> list[tuple[str, str]]:
    return list(key.events.order_by("id").values_list("action", "actor"))


@pytest.fixture
def add(admin_client):
    def add(**fields):
        data = {**filled_in(admin_client.get(ADD)), "name": "Ann", "rate_limit": "7", **fields}
        return admin_client.post(ADD, data, follow=True)

    return add


@pytest.fixture
def act(admin_client):
    """Run an action of the list, as its form does, or that of a key's page by `back_to`."""

    def act(action: str, *keys: ApiKey, **more):
        data = {"action": action, "_selected_action": [str(key.pk) for key in keys], **more}
        return admin_client.post(KEYS, data, follow=True)

    return act


@pytest.fixture
def client_with(client, django_user_model):
    """A client of staff that has these rights and no more."""

    def make(*rights: str):
        user = django_user_model.objects.create_user("bob", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        client.force_login(user)
        return client

    return make


def test_add__shows_the_token_in_the_answer_and_keeps_it_nowhere(add, admin_client):
    answer = add()

    (token,) = tokens_in(answer)
    key = ApiKey.objects.usable_key(token)
    assert (key.name, key.rate_limit) == ("Ann", 7)
    assert "no-store" in answer["Cache-Control"]
    assert answer.redirect_chain == []
    assert token not in str([session.get_decoded() for session in Session.objects.all()])
    assert token not in str(admin_client.cookies)
    for page in (KEYS, page_of(key), f"{KEYS}{key.pk}/history/", EVENTS):
        assert token not in text_of(admin_client.get(page))


def test_add__is_noted_with_the_user(add):
    add()

    assert events(ApiKey.objects.get()) == [(Action.CREATED, "admin")]


def test_add__that_is_sent_again_makes_no_second_key_and_shows_no_token(add):
    once = str(uuid7())
    add(once=once)

    answer = add(once=once)

    assert "already exists" in text_of(answer)
    assert tokens_in(answer) == []
    assert str(ApiKey.objects.get().pk) == once
    assert KeyEvent.objects.count() == 1


@pytest.mark.parametrize(("field", "wrong"), [("name", ""), ("rate_limit", "-1"), ("once", "x"), ("expires_at_0", "x")])
def test_add__names_what_is_wrong_and_makes_nothing(add, field, wrong):
    answer = add(**{field: wrong})

    assert "errornote" in text_of(answer)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("age", [timedelta(days=400), timedelta(seconds=1)])
def test_add__refuses_an_expiry_in_the_past(add, age):
    moment = timezone.now() - age

    answer = add(expires_at_0=f"{moment:%Y-%m-%d}", expires_at_1=f"{moment:%H:%M:%S}")

    assert "This time is in the past. Choose a later one, or revoke the key." in text_of(answer)
    assert not ApiKey.objects.exists()


def test_change__refuses_an_expiry_in_the_past(admin_client, key):
    data = {**filled_in(admin_client.get(page_of(key))), "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}

    answer = admin_client.post(page_of(key), data)

    assert "This time is in the past" in text_of(answer)
    assert ApiKey.objects.get(pk=key.pk).expires_at is None


def test_change__of_an_expired_key_leaves_its_expiry(admin_client, make_key):
    end = timezone.now().replace(microsecond=0) - timedelta(days=1)
    key = make_key(expires_at=end)

    shown = {"expires_at_0": f"{end:%Y-%m-%d}", "expires_at_1": f"{end:%H:%M:%S}"}

    admin_client.post(page_of(key), {**filled_in(admin_client.get(page_of(key))), **shown, "name": "Renamed"})

    key.refresh_from_db()
    assert (key.name, key.expires_at) == ("Renamed", end)


def test_add__takes_no_hash_and_no_state(add):
    add(key_hash="0" * 64, prefix="lg_live_Mine01", revoked_at="2020-01-01", is_deleted="on")

    key = ApiKey.objects.get()
    assert key.state == "active"
    assert key.key_hash != "0" * 64
    assert key.prefix != "lg_live_Mine01"


def test_change__is_noted_with_old_and_new(admin_client, key):
    data = {**filled_in(admin_client.get(page_of(key))), "name": "Ann", "rate_limit": "5"}
    del data["is_active"]

    admin_client.post(page_of(key), data)

    assert events(key) == [(Action.CHANGED, "admin"), (Action.DEACTIVATED, "admin")]
    assert key.events.order_by("id").first().changes == {"name": ["Test", "Ann"], "rate_limit": [100, 5]}


def test_rotate__asks_and_then_shows_the_new_token_once(act, key):
    asked = act("rotate", key)
    answer = act("rotate", key, post="yes", grace="24")

    assert "How long the old key still works" in text_of(asked)
    (token,) = tokens_in(answer)
    new = ApiKey.objects.usable_key(token)
    assert new.rotated_from == key
    assert "no-store" in answer["Cache-Control"]
    assert events(new) == [(Action.CREATED, "admin")]
    assert events(key) == [(Action.ROTATED, "admin")]


def test_rotate__that_is_sent_again_makes_no_second_key_and_shows_no_token(act, key):
    act("rotate", key, post="yes", grace="24")

    answer = act("rotate", key, post="yes", grace="24", back_to=str(key.pk))

    assert "was rotated before" in text_of(answer)
    assert answer.redirect_chain == [(page_of(key), 302)]
    assert tokens_in(answer) == []
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("grace", ["", "-1", "5"])
def test_rotate__takes_a_grace_that_was_offered(act, key, grace):
    act("rotate", key, post="yes", grace=grace)

    assert ApiKey.objects.count() == 1


def test_rotate__is_done_to_one_key(act, key, make_key):
    answer = act("rotate", key, make_key(), post="yes", grace="1")

    assert "one key at a time" in text_of(answer)
    assert ApiKey.objects.count() == 2


def test_rotate__needs_the_right_to_add(client_with, key):
    client_with("view_apikey", "change_apikey").post(
        KEYS, {"action": "rotate", "_selected_action": [str(key.pk)], "post": "yes", "grace": "1"}
    )

    assert ApiKey.objects.count() == 1


def test_revoke__asks_first(act, key):
    answer = act("revoke", key)

    assert "Revoking is permanent" in text_of(answer)
    assert key.state == "active"


@pytest.mark.parametrize(("more", "status"), [({}, Status.PENDING), ({"cancel_pending": "on"}, Status.CANCELLED)])
def test_revoke__of_many_keys_cancels_what_waits_where_asked(act, key, make_key, make_generation, more, status):
    generation = make_generation()

    answer = act("revoke", key, make_key(), post="yes", **more)

    assert "Revoked: 2." in text_of(answer)
    assert {key.state for key in ApiKey.objects.all()} == {"revoked"}
    generation.refresh_from_db()
    assert generation.status == status


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("deactivate", {}, Action.DEACTIVATED),
        ("activate", UNUSABLE["inactive"], Action.ACTIVATED),
        ("restore", UNUSABLE["deleted"], Action.RESTORED),
        ("delete_selected", {}, Action.DELETED),
    ],
)
def test_action__is_noted_with_the_user(act, make_key, action, before, after):
    key = make_key(**before)

    act(action, key, post="yes")

    assert events(key) == [(after, "admin")]


def test_delete__of_one_key_is_noted_with_the_user(admin_client, key):
    admin_client.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"})

    assert events(key) == [(Action.DELETED, "admin")]


def test_action__of_a_key_s_page_leads_back_to_it(act, key):
    assert act("deactivate", key, back_to=str(key.pk)).redirect_chain == [(page_of(key), 302)]
    assert act("activate", key).redirect_chain == [(KEYS, 302)]


@pytest.mark.parametrize("action", [*ACTIONS, "delete_selected"])
def test_action__needs_a_right(client_with, key, action):
    before = ApiKey.all_objects.values().get()

    client_with("view_apikey").post(
        KEYS, {"action": action, "_selected_action": [str(key.pk)], "post": "yes", "grace": "1"}
    )

    assert ApiKey.all_objects.values().get() == before


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("active", {"rotate", "deactivate", "revoke"}),
        ("inactive", {"activate", "revoke"}),
        ("expired", {"deactivate", "revoke"}),
        ("revoked", set()),
        ("deleted", {"deactivate", "revoke", "restore"}),
    ],
)
def test_page__offers_what_can_be_done(admin_client, make_key, state, offered):
    page = text_of(admin_client.get(page_of(make_key(**UNUSABLE.get(state, {})))))

    assert {action for action in ACTIONS if f'value="{action}"' in page} == offered
    assert f"key-state-{state}" in page


def test_page__offers_nothing_to_who_may_only_look(client_with, key):
    page = text_of(client_with("view_apikey").get(page_of(key)))

    assert key.prefix in page
    assert 'name="action"' not in page


def test_page__shows_what_was_done_newest_first(admin_client, key):
    key.change(name="<b>Ann</b>")
    key.revoke()

    page = admin_client.get(page_of(key)).content.decode()

    assert page.index("<td>Revoked</td>") < page.index("<td>Changed</td>")
    assert "Test → &lt;b&gt;Ann&lt;/b&gt;" in page


def test_page__charts_the_generations_by_day(admin_client, make_generation):
    key = make_generation().api_key
    make_generation()

    page = text_of(admin_client.get(page_of(key)))

    assert "2 generations in 30 days" in page
    assert page.count("<title>") == 1 + 30
    assert f"<title>{timezone.now():%-d %b}: 2</title>" in page


def test_chart__scales_to_the_day_with_most():
    today = timezone.now().date()
    days = [today - timedelta(days=2), today - timedelta(days=1), today]

    drawn = list(chart.bars(days, [0, 1000, 1]))

    assert [bar["height"] for bar in drawn] == [1, chart.HEIGHT, 2]
    assert [bar["x"] for bar in drawn] == [0, 200, 400]
    assert all(bar["y"] + bar["height"] == chart.HEIGHT for bar in drawn)


def test_chart__of_nothing_is_drawn_as_well():
    assert "0 generations in 3 days" in chart.by_day({date(2020, 1, 1): 5}, 3, "generations")


@pytest.mark.parametrize("state", ["active", *UNUSABLE])
def test_list__is_filtered_by_state(admin_client, make_key, state):
    keys = {name: make_key(**UNUSABLE.get(name, {})) for name in ("active", *UNUSABLE)}

    shown = admin_client.get(KEYS, {"state": state}).context["cl"].result_list

    assert list(shown) == [keys[state]]


def test_list__shows_how_much_of_the_limit_is_used(admin_client, make_key, monkeypatch):
    make_key(rate_limit=60)
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {})
    assert '<td class="field-limit">60</td>' in text_of(admin_client.get(KEYS))

    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {key.pk: 12 for key in keys})
    assert "12 of 60" in text_of(admin_client.get(KEYS))


@pytest.mark.parametrize(
    ("ago", "shown"), [(None, "never"), (timedelta(seconds=5), "just now"), (timedelta(hours=2), "2 hours ago")]
)
def test_list__shows_when_a_key_was_used(admin_client, make_key, ago, shown):
    make_key(last_used_at=ago and timezone.now() - ago)

    assert shown in text_of(admin_client.get(KEYS)).replace("\xa0", " ")


def test_list__asks_as_much_for_many_keys_as_for_one(admin_client, make_key, monkeypatch):
    asked = []
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: asked.append(len(list(keys))) or {})

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(KEYS)
        return len(captured)

    make_key()
    one = queries()
    for _ in range(10):
        make_key(last_used_at=timezone.now()).rotate(grace=timedelta(hours=1))

    assert queries() == one
    assert asked == [1, 21]


def test_events__are_read_only(admin_client, key):
    key.revoke()
    event = key.events.get()

    assert "Revoked" in text_of(admin_client.get(EVENTS))
    assert admin_client.get(f"{EVENTS}{event.pk}/change/").status_code == 200
    assert admin_client.get(EVENTS + "add/").status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/change/", {"actor": "bob"}).status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/delete/", {"post": "yes"}).status_code == 403


def test_events__of_a_removed_key_are_shown(admin_client, key):
    key.hard_delete()
    event = KeyEvent.objects.get()

    assert key.prefix in text_of(admin_client.get(EVENTS))
    assert admin_client.get(f"{EVENTS}{event.pk}/change/").status_code == 200
