import os
import pwd
from datetime import timedelta

import pytest
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import OperationalError
from django.utils import timezone
from psycopg_pool import PoolTimeout

from apikeys import tokens
from apikeys.audit import Action
from apikeys.management.commands.apikey import TRANSITIONS, Command
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN

pytestmark = pytest.mark.django_db
ME = pwd.getpwuid(os.getuid()).pw_name


def test_create__prints_the_token_and_nothing_else(capsys):
    call_command("apikey", "create", "Ann", "--rate-limit", "7", "--max-pending", "5")

    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    key = ApiKey.objects.usable_key(token)
    assert tokens.is_valid(token)
    assert (key.name, key.rate_limit, key.max_pending, key.expires_at) == ("Ann", 7, 5, None)
    assert "only once" in printed.err
    assert token not in printed.err


def test_create__sets_the_expiry(capsys):
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
def test_create__names_the_invalid_argument(arguments, matching):
    with pytest.raises(CommandError, match=matching):
        call_command("apikey", "create", *arguments)

    assert not ApiKey.objects.exists()


def test_ensure_development__is_idempotent(settings, capsys):
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
def test_transition__reports_whether_it_applied(make_key, apikey, command):
    key = make_key()
    if command in ("activate", "restore"):
        apikey({"activate": "deactivate", "restore": "delete"}[command], str(key.pk))

    first, second = apikey(command, key.prefix), apikey(command, key.prefix)

    _, done, done_before, states = TRANSITIONS[command]
    assert first == ("", f"{key} {done}.\n")
    assert second == ("", f"{key} {done_before}.\n")
    assert ApiKey.all_objects.with_state().get().state in states


def test_transition__reports_a_key_that_stays_unusable(make_key, apikey):
    key = make_key(expires_at=timezone.now())

    assert apikey("activate", key.prefix)[1].endswith("was active already. It is expired.\n")


def test_activate__of_a_revoked_key_is_refused(make_key, apikey):
    key = make_key(is_active=False)
    apikey("revoke", key.prefix)

    with pytest.raises(CommandError, match="is revoked, which is permanent") as error:
        apikey("activate", key.prefix)

    assert error.value.returncode == 1
    assert not ApiKey.objects.get().is_active


def test_transition__removes_control_characters_from_the_name(make_key, apikey):
    key = make_key(name="Ann\n\x1b[2J")

    assert apikey("revoke", key.prefix)[1] == f"Ann  [2J ({key.prefix}…) is revoked.\n"


def test_transition__records_the_account_that_ran_it(key, apikey):
    apikey("revoke", key.prefix)

    event = key.events.get()
    assert (event.action, event.via, event.actor.partition("@")[0]) == (Action.REVOKED, "command", ME)


def test_revoke__cancels_pending_generations_only_with_the_option(key, apikey, make_generation):
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


def test_rotate__without_grace_and_with_another_expiry(key, apikey):
    out, err = apikey("rotate", key.prefix, "--grace", "0", "--expires-in", "30d")

    assert "no longer works" in err
    assert ApiKey.objects.usable_key(key.token) is None
    assert ApiKey.objects.usable_key(out.strip()).expires_at > timezone.now() + timedelta(days=29)


@pytest.mark.parametrize("wrong", ["-1h", "0h", "soon", ""])
def test_rotate__refuses_an_invalid_grace(key, wrong):
    with pytest.raises(CommandError, match="grace"):
        call_command("apikey", "rotate", key.prefix, f"--grace={wrong}")

    assert ApiKey.objects.count() == 1


def test_rotate__requires_a_grace(key):
    with pytest.raises(CommandError, match="--grace"):
        call_command("apikey", "rotate", key.prefix)


def test_outage__is_reported_on_one_line(key, monkeypatch):
    def fail(*_):
        raise OperationalError("couldn't get a connection") from PoolTimeout()

    monkeypatch.setattr(type(ApiKey.all_objects), "matching", fail)

    with pytest.raises(CommandError, match="The database failed: couldn't get a connection") as error:
        call_command("apikey", "show", key.prefix)

    assert error.value.returncode == 3


def test_wrong_arguments__exit_code(capsys):
    with pytest.raises(SystemExit) as exited:
        ManagementUtility(["manage.py", "apikey", "rotate"]).execute()

    assert exited.value.code == 2
    assert capsys.readouterr().out == ""


def test_help__lists_the_exit_codes():
    text = Command().create_parser("manage.py", "apikey").format_help()

    assert "Exit codes: 0 success" in " ".join(text.split())
