"""The admin of keys: actions, confirmations and permissions."""

import pytest
from django.contrib.auth.models import Permission

from apikeys.audit import Action
from apikeys.models import ApiKey
from apikeys.tests.support.admin import KEYS, events, page_of, text_of, tokens_in
from apikeys.tests.test_models import UNUSABLE
from generations.status import Status

pytestmark = pytest.mark.django_db
ACTIONS = ("rotate", "deactivate", "activate", "revoke", "restore")


@pytest.fixture
def act(admin_client):
    """Run an action as the list's form does, or with `back_to` as a key's page does."""

    def act(action: str, *keys: ApiKey, **more):
        data = {"action": action, "_selected_action": [str(key.pk) for key in keys], **more}
        return admin_client.post(KEYS, data, follow=True)

    return act


@pytest.fixture
def client_with(client, django_user_model):
    """A client of a staff user with only these permissions."""

    def make(*permissions: str):
        user = django_user_model.objects.create_user("bob", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return make


def test_rotate__confirms_and_then_shows_the_new_token(act, key):
    confirmation = act("rotate", key)
    response = act("rotate", key, post="yes", grace="24")

    assert "How long the old key still works" in text_of(confirmation)
    (token,) = tokens_in(response)
    new = ApiKey.objects.usable_key(token)
    assert new.rotated_from == key
    assert "no-store" in response["Cache-Control"]
    assert events(new) == [(Action.CREATED, "admin")]
    assert events(key) == [(Action.ROTATED, "admin")]


def test_rotate__repeated_creates_no_second_key(act, key):
    act("rotate", key, post="yes", grace="24")

    response = act("rotate", key, post="yes", grace="24", back_to=str(key.pk))

    assert "was rotated before" in text_of(response)
    assert response.redirect_chain == [(page_of(key), 302)]
    assert tokens_in(response) == []
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("grace", ["", "-1", "5"])
def test_rotate__refuses_a_grace_that_is_not_offered(act, key, grace):
    act("rotate", key, post="yes", grace=grace)

    assert ApiKey.objects.count() == 1


def test_rotate__refuses_several_keys(act, key, make_key):
    response = act("rotate", key, make_key(), post="yes", grace="1")

    assert "one key at a time" in text_of(response)
    assert ApiKey.objects.count() == 2


def test_rotate__requires_the_add_permission(client_with, key):
    client_with("view_apikey", "change_apikey").post(
        KEYS, {"action": "rotate", "_selected_action": [str(key.pk)], "post": "yes", "grace": "1"}
    )

    assert ApiKey.objects.count() == 1


def test_revoke__requires_confirmation(act, key):
    response = act("revoke", key)

    assert "Revoking is permanent" in text_of(response)
    assert key.state == "active"


@pytest.mark.parametrize(("more", "status"), [({}, Status.PENDING), ({"cancel_pending": "on"}, Status.CANCELLED)])
def test_revoke__cancels_pending_generations_only_with_the_option(act, key, make_key, make_generation, more, status):
    generation = make_generation()

    response = act("revoke", key, make_key(), post="yes", **more)

    assert "Revoked: 2." in text_of(response)
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
def test_action__is_recorded_with_the_user(act, make_key, action, before, after):
    key = make_key(**before)

    act(action, key, post="yes")

    assert events(key) == [(after, "admin")]


def test_delete__of_one_key_is_recorded_with_the_user(admin_client, key):
    admin_client.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"})

    assert events(key) == [(Action.DELETED, "admin")]


def test_action__redirects_to_the_page_it_came_from(act, key):
    assert act("deactivate", key, back_to=str(key.pk)).redirect_chain == [(page_of(key), 302)]
    assert act("activate", key).redirect_chain == [(KEYS, 302)]


@pytest.mark.parametrize("action", [*ACTIONS, "delete_selected"])
def test_action__requires_a_permission(client_with, key, action):
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
def test_page__has_buttons_for_the_state(admin_client, make_key, state, offered):
    page = text_of(admin_client.get(page_of(make_key(**UNUSABLE.get(state, {})))))

    assert {action for action in ACTIONS if f'value="{action}"' in page} == offered
    assert f"key-state-{state}" in page


def test_page__has_no_buttons_with_the_view_permission(client_with, key):
    page = text_of(client_with("view_apikey").get(page_of(key)))

    assert key.prefix in page
    assert 'name="action"' not in page
