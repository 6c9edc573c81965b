from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apikeys import tokens
from apikeys.models import DEVELOPMENT_TOKEN, ApiKey

pytestmark = pytest.mark.django_db


def test_create__prints_the_token_and_nothing_else(capsys):
    call_command("apikey", "create", "Ann", "--rate-limit", "7")

    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    key = ApiKey.objects.authenticate(token)
    assert tokens.is_valid(token)
    assert (key.name, key.rate_limit, key.expires_at) == ("Ann", 7, None)
    assert "only time" in printed.err
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
    ("arguments", "named"),
    [
        (["x" * 101], "name"),
        ([""], "name"),
        (["Ann", "--rate-limit", "-1"], "rate_limit"),
        (["Ann", "--rate-limit", "9999999999"], "rate_limit"),
        (["Ann", "--max-pending", "-1"], "max_pending"),
        (["Ann", "--expires-in", "soon"], "expires-in"),
        (["Ann", "--expires-in", "0d"], "expires-in"),
    ],
)
def test_create__names_what_is_wrong_and_makes_nothing(arguments, named):
    with pytest.raises(CommandError, match=named):
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
