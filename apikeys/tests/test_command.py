import json
import os
import pwd
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from psycopg_pool import PoolTimeout

from apikeys import tokens
from apikeys.audit import Action
from apikeys.management.commands.apikey import TRANSITIONS, Command
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN
from apikeys.rate_limit import usage

pytestmark = pytest.mark.django_db
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def apikey(capsys):
    """Run the command and return what it wrote: (output, errors)."""

    def run(*arguments: str) -> tuple[str, str]:
        capsys.readouterr()
        call_command("apikey", *arguments)
        return tuple(capsys.readouterr())

    return run


def test_create__prints_the_token_and_nothing_else(capsys):
    call_command("apikey", "create", "Ann", "--rate-limit", "7")

    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    key = ApiKey.objects.usable_key(token)
    assert tokens.is_valid(token)
    assert (key.name, key.rate_limit, key.expires_at) == ("Ann", 7, None)
    assert "only once" in printed.err
    assert token not in printed.err


def test_create__sets_the_quota(capsys):
    call_command("apikey", "create", "Ann", "--max-pending", "5")

    assert ApiKey.objects.get().max_pending == 5


def test_create__sets_the_end(capsys):
    call_command("apikey", "create", "Ann", "--expires-in", "12h")

    assert ApiKey.objects.get().expires_at - timezone.now() == pytest.approx(
        timedelta(hours=12), abs=timedelta(minutes=1)
    )


@pytest.mark.parametrize(
    ("arguments", "matching"),
    [
        (["x" * 101], "name"),
        ([""], "name"),
        (["Ann", "--rate-limit", "-1"], "rate_limit"),
        (["Ann", "--rate-limit", "9999999999"], "rate_limit"),
        (["Ann", "--max-pending", "-1"], "max_pending"),
        (["Ann", "--expires-in", "soon"], "expires-in"),
        (["Ann", "--expires-in", "0d"], "expires-in"),
        (["Ann", "--expires-in=-1h"], "expires-in"),
        (["Ann", "--expires-in", "2020-01-01"], "expires-in"),
    ],
)
def test_create__names_what_is_wrong_and_makes_nothing(arguments, matching):
    with pytest.raises(CommandError, match=matching):
        call_command("apikey", "create", *arguments)

    assert not ApiKey.objects.exists()


def test_ensure_development__prints_the_key_again_and_again(settings, capsys):
    settings.DEBUG = True

    call_command("apikey", "ensure-development")
    call_command("apikey", "ensure-development")

    assert capsys.readouterr().out == f"{DEVELOPMENT_TOKEN}\n" * 2
    assert ApiKey.objects.count() == 1


def test_ensure_development__is_refused_without_debug():
    with pytest.raises(CommandError, match="DEBUG"):
        call_command("apikey", "ensure-development")

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("command", TRANSITIONS)
def test_transition__states_what_was_done_and_is_done_once(make_key, apikey, command):
    key = make_key()
    if command in ("activate", "restore"):
        apikey({"activate": "deactivate", "restore": "delete"}[command], str(key.pk))

    first, second = apikey(command, key.prefix), apikey(command, key.prefix)

    _, done, done_before, states = TRANSITIONS[command]
    assert first == ("", f"{key} {done}.\n")
    assert second == ("", f"{key} {done_before}.\n")
    assert ApiKey.all_objects.with_state().get().state in states


def test_transition__states_where_the_key_stays_closed(make_key, apikey):
    key = make_key(expires_at=timezone.now())

    assert apikey("activate", key.prefix)[1].endswith("was active already. It is expired.\n")


def test_activate__of_a_revoked_key_is_refused(make_key, apikey):
    key = make_key(is_active=False)
    apikey("revoke", key.prefix)

    with pytest.raises(CommandError, match="is revoked, which is permanent") as error:
        apikey("activate", key.prefix)

    assert error.value.returncode == 1
    assert not ApiKey.objects.get().is_active


def test_find__of_several_keys_lists_them(make_key, apikey):
    keys = [make_key(prefix="lg_live_aaaaa" + end, name=f"Key\x1b {end}") for end in "bcdefgh"]

    with pytest.raises(CommandError) as error:
        apikey("show", "lg_live_aaaaa")

    text = str(error.value)
    assert error.value.returncode == 4
    assert "Several keys start with 'lg_live_aaaaa'" in text
    assert [str(key.pk) in text for key in keys] == [False] * 2 + [True] * 5
    assert "\x1b" not in text


def test_show__shows_that_a_rotated_key_works_on(key, apikey):
    apikey("rotate", key.prefix, "--grace", "1h")

    shown = json.loads(apikey("show", str(key.pk), "--json")[0])

    assert shown["state"] == "in grace"
    assert shown["replaced_by"]


def test_transition__is_reported_in_a_line_whatever_the_name(make_key, apikey):
    key = make_key(name="Ann\n\x1b[2J")

    assert apikey("revoke", key.prefix)[1] == f"Ann  [2J ({key.prefix}…) is revoked.\n"


def test_transition__is_noted_with_the_account_that_ran_it(key, apikey):
    apikey("revoke", key.prefix)

    event = key.events.get()
    assert (event.action, event.via, event.actor.partition("@")[0]) == (Action.REVOKED, "command", ME)


def test_revoke__cancels_what_waits_where_asked(key, apikey, make_generation):
    generation = make_generation()

    apikey("revoke", key.prefix)
    generation.refresh_from_db()
    assert generation.is_unfinished
    apikey("revoke", key.prefix, "--cancel-pending")
    generation.refresh_from_db()
    assert not generation.is_unfinished


def test_rotate__prints_the_new_token_and_nothing_else(key, apikey):
    out, err = apikey("rotate", key.prefix, "--grace", "1h")

    new = ApiKey.objects.usable_key(out.removesuffix("\n"))
    assert new.rotated_from == key
    assert out.strip() not in err
    assert "works until" in err
    key.refresh_from_db()
    assert key.expires_at - timezone.now() == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1))


def test_rotate__without_grace_and_with_another_end(key, apikey):
    out, err = apikey("rotate", key.prefix, "--grace", "0", "--expires-in", "30d")

    assert "no longer works" in err
    assert ApiKey.objects.usable_key(key.token) is None
    assert ApiKey.objects.usable_key(out.strip()).expires_at > timezone.now() + timedelta(days=29)


@pytest.mark.parametrize("wrong", ["-1h", "0h", "soon", ""])
def test_rotate__names_what_is_wrong_with_a_grace(key, wrong):
    with pytest.raises(CommandError, match="grace"):
        call_command("apikey", "rotate", key.prefix, f"--grace={wrong}")

    assert ApiKey.objects.count() == 1


def test_rotate__asks_for_a_grace(key):
    with pytest.raises(CommandError, match="--grace"):
        call_command("apikey", "rotate", key.prefix)


def test_rotate__refuses_a_dead_key(key):
    key.revoke()

    with pytest.raises(CommandError, match="revoked: only an active key"):
        call_command("apikey", "rotate", key.prefix, "--grace=0")


@pytest.mark.parametrize(
    "name", [lambda key: str(key.pk), lambda key: key.prefix, lambda key: key.prefix[:-2], lambda key: f"{key.prefix}…"]
)
def test_key__is_named_by_id_or_the_start_of_its_token(key, apikey, name):
    assert json.loads(apikey("show", name(key), "--json")[0])["id"] == str(key.pk)


def test_key__is_named_by_a_whole_token_that_is_shown_to_nobody(key, apikey):
    out, err = apikey("revoke", key.token)

    assert "is revoked" in err
    assert key.token not in out + err


def test_key__is_found_although_it_is_deleted(key, apikey):
    key.delete()

    assert json.loads(apikey("show", key.prefix, "--json")[0])["state"] == "deleted"


@pytest.mark.parametrize("name", ["", "lg_live_", "lg_live_%", "Test", "0" * 32, "…"])
def test_key__that_is_unknown_is_an_error_and_never_the_only_key(key, name):
    with pytest.raises(CommandError, match="There is no key"):
        call_command("apikey", "revoke", name)

    assert key.state == "active"


def test_key__that_is_unknown_is_not_repeated_where_it_is_a_token(db):
    token = tokens.make()

    with pytest.raises(CommandError) as error:
        call_command("apikey", "revoke", token)

    assert token[:14] in str(error.value)
    assert token[:15] not in str(error.value)


def test_key__that_is_ambiguous_is_an_error(make_key):
    make_key(prefix="lg_live_Twins1"), make_key(prefix="lg_live_Twins2")

    with pytest.raises(CommandError, match="Several"):
        call_command("apikey", "revoke", "lg_live_Twins")

    assert not ApiKey.objects.filter(revoked_at__isnull=False).exists()


def test_list__is_a_table_of_what_is_not_deleted(make_key, apikey):
    ann, bob, gone = make_key(name="Ann", rate_limit=7), make_key(name="Bob\x1b[2J\n", rate_limit=0), make_key()
    bob.revoke()
    gone.delete()

    head, *rows = apikey("list")[0].splitlines()

    assert head.split("  ")[0] == "ID"
    assert [row.split()[:3] for row in rows] == [[str(bob.pk), bob.prefix, "Bob"], [str(ann.pk), ann.prefix, "Ann"]]
    assert rows[1].split()[3:5] == ["active", "7"]
    assert "\x1b" not in "".join(rows)
    assert len(apikey("list", "--all")[0].splitlines()) == 4


def test_list__in_json_has_no_secret(key, apikey):
    new, _ = key.rotate(grace=timedelta(hours=1))

    newest, oldest = json.loads(apikey("list", "--json")[0])

    assert (newest["id"], newest["rotated_from"]) == (str(new.pk), str(key.pk))
    assert (oldest["state"], oldest["replaced_by"], oldest["last_used_at"]) == ("in grace", str(new.pk), None)
    assert key.key_hash not in json.dumps([newest, oldest])


def test_list__asks_as_much_for_many_keys_as_for_one(make_key, apikey, django_assert_num_queries, monkeypatch):
    counted = []
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: counted.append(len(keys)) or {})
    for _ in range(5):
        make_key()

    with django_assert_num_queries(1):
        apikey("list", "--json")

    assert counted == [5]


def test_show__shows_what_the_key_was_used_for_and_what_was_done_to_it(key, apikey, make_generation, monkeypatch):
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


def test_show__shows_null_where_the_requests_are_unknown(key, apikey, monkeypatch):
    monkeypatch.setattr(usage, "requests_last_minute", lambda keys: {})

    assert json.loads(apikey("show", key.prefix, "--json")[0])["requests_last_minute"] is None


def test_outage__is_reported_in_a_line(key, monkeypatch):
    def fail(*_):
        raise OperationalError("couldn't get a connection") from PoolTimeout()

    monkeypatch.setattr(type(ApiKey.all_objects), "matching", fail)

    with pytest.raises(CommandError, match="The database failed: couldn't get a connection") as error:
        call_command("apikey", "show", key.prefix)

    assert error.value.returncode == 3


def test_usage__is_reported_from_a_refusal_by_the_exit_code():
    done = subprocess.run([sys.executable, "manage.py", "apikey", "rotate"], capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stdout == ""


def test_help__shows_the_exit_codes():
    text = Command().create_parser("manage.py", "apikey").format_help()

    assert "Exit codes: 0 success" in " ".join(text.split())
