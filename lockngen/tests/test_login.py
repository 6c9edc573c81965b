"""Failed logins to the admin: limited for one user name from one address, and logged."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.db.models import F
from django.test import Client

from apikeys import tokens

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ann(django_user_model, settings):
    settings.AXES_FAILURE_LIMIT = 2
    return django_user_model.objects.create_superuser("ann", password=PASSWORD)


def login(username: str = "ann", password: str = "wrong", **headers: str) -> int:
    return Client(headers=headers).post(LOGIN, {"username": username, "password": password}).status_code


@pytest.mark.parametrize("address", ["https://other.example.org/", "//other.example.org", "javascript:alert(1)"])
def test_login__with_the_address_of_another_site_leads_to_the_admin(address):
    answer = Client().post(LOGIN, {"username": "ann", "password": PASSWORD, "next": address})

    assert answer.status_code == 302
    assert answer["Location"] == "/admin/"


def test_login__is_refused_after_too_many_failures_and_states_so():
    assert [login(), login()] == [200, 429]

    answer = Client().post(LOGIN, {"username": "Ann", "password": PASSWORD})

    assert answer.status_code == 429
    assert "Too many failed logins" in answer.content.decode()


def test_lockout__is_for_one_name_from_one_address(settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    login(**{"X-Forwarded-For": "203.0.113.7"}), login(**{"X-Forwarded-For": "203.0.113.7"})

    assert login(password=PASSWORD, **{"X-Forwarded-For": "203.0.113.7"}) == 429
    assert login(password=PASSWORD, **{"X-Forwarded-For": "203.0.113.8"}) == 302
    assert login("bob", **{"X-Forwarded-For": "203.0.113.7"}) == 200


def test_lockout__ends_by_itself_although_logins_go_on(settings):
    login(), login(), login()

    AccessAttempt.objects.update(attempt_time=F("attempt_time") - settings.AXES_COOLOFF_TIME - timedelta(seconds=1))

    assert login(password=PASSWORD) == 302


def test_login__that_succeeds_clears_the_count():
    assert [login(), login(password=PASSWORD), login(), login(password=PASSWORD)] == [200, 302, 200, 302]


def test_failure__is_logged_with_address_and_without_control_characters(caplog):
    login("ann\x1b[2J\nroot")

    (line,) = [record.getMessage() for record in caplog.records if record.name == "lockngen.login"]
    assert line == "Login failed: user='ann [2J root' remote=127.0.0.1"


def test_failure__stores_no_password():
    token = tokens.make()

    login(password=token)

    assert token not in str(list(AccessAttempt.objects.values()))
