"""The command `apikey`: how a key is found, and `list` and `show`."""

import json
import os
import pwd
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.rate_limit import usage

pytestmark = pytest.mark.django_db
ME = pwd.getpwuid(os.getuid()).pw_name


def test_key__ambiguous_lists_the_candidates(make_key, apikey):
    keys = [make_key(prefix="lg_live_aaaaa" + end, name=f"Key\x1b {end}") for end in "bcdefgh"]

    with pytest.raises(CommandError) as error:
        apikey("show", "lg_live_aaaaa")

    text = str(error.value)
    assert error.value.returncode == 4
    assert "Several keys start with 'lg_live_aaaaa'" in text
    assert [str(key.pk) in text for key in keys] == [False] * 2 + [True] * 5
    assert "\x1b" not in text


def test_show__rotated_key_is_in_grace(key, apikey):
    apikey("rotate", key.prefix, "--grace", "1h")

    shown = json.loads(apikey("show", str(key.pk), "--json")[0])

    assert shown["state"] == "in grace"
    assert shown["replaced_by"]


@pytest.mark.parametrize(
    "name", [lambda key: str(key.pk), lambda key: key.prefix, lambda key: key.prefix[:-2], lambda key: f"{key.prefix}…"]
)
def test_key__found_by_id_or_start_of_token(key, apikey, name):
    assert json.loads(apikey("show", name(key), "--json")[0])["id"] == str(key.pk)


def test_key__found_by_token_which_is_not_printed(key, apikey):
    out, err = apikey("revoke", key.token)

    assert "is revoked" in err
    assert key.token not in out + err


def test_key__deleted_is_found(key, apikey):
    key.delete()

    assert json.loads(apikey("show", key.prefix, "--json")[0])["state"] == "deleted"


@pytest.mark.parametrize("name", ["", "lg_live_", "lg_live_%", "Test", "0" * 32, "…"])
def test_key__unknown_never_means_the_only_key(key, name):
    with pytest.raises(CommandError, match="There is no key"):
        call_command("apikey", "revoke", name)

    assert key.state == "active"


def test_key__unknown_token_is_not_printed(db):
    token = tokens.make()

    with pytest.raises(CommandError) as error:
        call_command("apikey", "revoke", token)

    assert token[:14] in str(error.value)
    assert token[:15] not in str(error.value)


def test_key__ambiguous_is_not_changed(make_key):
    make_key(prefix="lg_live_Twins1"), make_key(prefix="lg_live_Twins2")

    with pytest.raises(CommandError, match="Several"):
        call_command("apikey", "revoke", "lg_live_Twins")

    assert not ApiKey.objects.filter(revoked_at__isnull=False).exists()


def test_list__is_a_table_without_deleted_keys(make_key, apikey):
    ann, bob, gone = make_key(name="Ann", rate_limit=7), make_key(name="Bob\x1b[2J\n", rate_limit=0), make_key()
    bob.revoke()
    gone.delete()

    head, *rows = apikey("list")[0].splitlines()

    assert head.split("  ")[0] == "ID"
    assert [row.split()[:3] for row in rows] == [[str(bob.pk), bob.prefix, "Bob"], [str(ann.pk), ann.prefix, "Ann"]]
    assert rows[1].split()[3:5] == ["active", "7"]
    assert "\x1b" not in "".join(rows)
    assert len(apikey("list", "--all")[0].splitlines()) == 4


def test_list__json_has_no_secret(key, apikey):
    new, _ = key.rotate(grace=timedelta(hours=1))

    newest, oldest = json.loads(apikey("list", "--json")[0])

    assert (newest["id"], newest["rotated_from"]) == (str(new.pk), str(key.pk))
    assert (oldest["state"], oldest["replaced_by"], oldest["last_used_at"]) == ("in grace", str(new.pk), None)
    assert key.key_hash not in json.dumps([newest, oldest])


def test_list__one_query_for_many_keys(make_key, apikey, django_assert_num_queries, monkeypatch):
    counted = []
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: counted.append(len(keys)) or {})
    for _ in range(5):
        make_key()

    with django_assert_num_queries(1):
        apikey("list", "--json")

    assert counted == [5]


def test_show__usage_and_history(key, apikey, make_generation, monkeypatch):
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {key.pk: 12 for key in keys})
    make_generation(), make_generation().delete()
    key.change(name="Ann")

    shown = json.loads(apikey("show", key.prefix, "--json")[0])
    text = apikey("show", key.prefix)[0]

    assert shown["generations"] == {"pending": 1, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert shown["requests_last_minute"] == 12
    assert [(event["action"], event["changes"]) for event in shown["events"]] == [
        ("changed", {"name": ["Test", "Ann"]})
    ]
    assert "1 pending" in text
    for line in ("quota", "priority", "is active", "created", "expires", "revoked", "deleted", "replaced by"):
        assert f"\n{line} " in text
    assert "changed by code: name: Test → Ann" in text


def test_show__null_if_the_requests_are_unknown(key, apikey, monkeypatch):
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {})

    assert json.loads(apikey("show", key.prefix, "--json")[0])["requests_last_minute"] is None
