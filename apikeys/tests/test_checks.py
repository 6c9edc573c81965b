import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError

from apikeys.checks import development_key_is_not_active
from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE
from lockngen.tests.test_checks import STRONG


@pytest.fixture
def production(db, settings):
    settings.DEBUG = settings.AUTO_MIGRATE = False
    settings.SECRET_KEY = STRONG


def test_development_key__is_an_error_without_debug(production):
    assert list(development_key_is_not_active(None)) == []

    ApiKey.objects.ensure_development()
    (message,) = development_key_is_not_active(None)

    assert (message.id, "Delete it" in message.hint) == ("apikeys.E001", True)


@pytest.mark.parametrize("state", UNUSABLE)
def test_development_key__is_no_error_if_unusable(production, state):
    ApiKey.objects.ensure_development()
    ApiKey.objects.update(**UNUSABLE[state])

    assert list(development_key_is_not_active(None)) == []


def test_development_key__is_no_error_with_debug(db, settings):
    settings.DEBUG = True
    ApiKey.objects.ensure_development()

    assert list(development_key_is_not_active(None)) == []


def test_development_key__is_a_warning_without_a_database(production, monkeypatch):
    def fail(*_):
        raise OperationalError("away")

    monkeypatch.setattr(ApiKey.objects, "usable", fail)

    assert [message.id for message in development_key_is_not_active(None)] == ["apikeys.W001"]


def test_check_deploy__fails_with_the_development_key(production):
    call_command("check", "--deploy")

    ApiKey.objects.ensure_development()

    with pytest.raises(SystemCheckError, match=r"apikeys\.E001"):
        call_command("check", "--deploy")


@pytest.mark.parametrize(
    ("wrong", "id"), [({"DEBUG": True}, "lockngen.E008"), ({"SECRET_KEY": "secret"}, "lockngen.E009")]
)
def test_check_deploy__fails_with_settings_of_development(production, settings, wrong, id):
    for name, value in wrong.items():
        setattr(settings, name, value)

    with pytest.raises(SystemCheckError, match=id):
        call_command("check", "--deploy")


def test_check__without_deploy_costs_no_query(settings, capsys):
    settings.DEBUG = True

    call_command("check", "--fail-level", "WARNING")  # without a database at hand it would raise
