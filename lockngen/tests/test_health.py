"""Readiness."""

import json
import threading
import time
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils.functional import SimpleLazyObject

from lockngen import health
from lockngen.tests.support.health import ready

# The checks run in threads of their own, which see committed rows only.
pytestmark = pytest.mark.django_db(transaction=True)
NAMES = {"database", "migrations", "pool"}


@pytest.fixture
def broken(monkeypatch):
    """A pool check that fails."""

    def fail(self):
        raise health.ServiceUnavailable("all connections are taken by 10.0.0.7")

    monkeypatch.setattr(health.Pool, "measure", fail)


def test_ready__shows_names_and_results_to_anyone(client):
    assert ready(client) == (200, dict.fromkeys(NAMES, "OK"))


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/plain"])
def test_ready__has_the_requested_format(client, accept):
    answer = client.get("/ht/", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(accept)


@pytest.mark.parametrize("accept", ["text/html, image/gif, *; q=.2, */*; q=.2", "garbage"])
def test_ready__answers_an_invalid_accept_header(client, settings, accept):
    settings.DEBUG = True

    answer = client.get("/ht/", headers={"Accept": accept})

    assert (answer.status_code, json.loads(answer.content)["database"]) == (200, "OK")


def test_ready__shows_figures_with_debug(client, settings):
    settings.DEBUG = True

    figures = ready(client)[1]["figures"]

    assert figures["database"]["server_version"].startswith("16")
    assert 0 < figures["database"]["round_trip_ms"] < 1000
    assert 0 < figures["database"]["connect_ms"] < 1000
    assert figures["migrations"] == {"missing": [], "unknown": []}
    assert 0 < figures["pool"]["checkout_ms"] < 1000
    assert figures["pool"]["max"] == settings.DB_POOL_MAX_SIZE


def test_ready__shows_figures_for_the_health_token(client, settings):
    settings.HEALTH_TOKEN = "s3cret"

    assert "figures" in ready(client, Authorization="Bearer s3cret")[1]
    assert "figures" not in ready(client, Authorization="Bearer other")[1]
    assert "figures" not in ready(client)[1]


def test_ready__shows_no_figures_for_an_empty_token(client, settings):
    settings.HEALTH_TOKEN = ""

    assert "figures" not in ready(client, Authorization="Bearer ")[1]


def test_ready__shows_figures_to_staff_only(client, django_user_model):
    user = django_user_model.objects.create_user("ann")
    client.force_login(user)
    assert "figures" not in ready(client)[1]

    user.is_staff = True
    user.save()
    assert "figures" in ready(client)[1]


def test_ready__shows_the_reason_of_a_failure_with_debug_only(client, broken, settings):
    status, body = ready(client)
    assert (status, body["database"]) == (500, "OK")
    assert "10.0.0.7" not in body["pool"]

    settings.DEBUG = True
    assert "10.0.0.7" in ready(client)[1]["pool"]


@pytest.mark.parametrize("debug", [True, False])
def test_ready__fails_without_a_database(client, monkeypatch, settings, debug):
    settings.DEBUG = debug
    monkeypatch.setattr(health.Database, "measure", Mock(side_effect=OperationalError("no route to 10.0.0.7")))

    status, body = ready(client)

    assert (status, body["migrations"]) == (500, "OK")
    assert ("10.0.0.7" in body["database"]) == debug


def test_ready__fails_for_an_invalid_accept_header_too(client, broken):
    assert client.get("/ht/", headers={"Accept": "garbage"}).status_code == 500


@pytest.fixture
def hang():
    """A function that does not return during the test."""
    over = threading.Event()
    yield lambda *_: over.wait(20)
    over.set()


def test_ready__limits_the_time_to_read_the_user(client, admin_user, monkeypatch, hang):
    client.force_login(admin_user)
    monkeypatch.setattr(health, "STAFF_TIMEOUT", 0.1)
    monkeypatch.setattr(health, "_is_staff", hang)
    started = time.monotonic()

    status, body = ready(client)

    assert (status, "figures" in body) == (200, False)
    assert time.monotonic() - started < 10


def test_ready__answers_if_the_user_can_not_be_read(client, admin_user, monkeypatch):
    client.force_login(admin_user)
    monkeypatch.setattr(health, "_is_staff", Mock(side_effect=OperationalError("the connection is lost")))

    status, body = ready(client)

    assert (status, "figures" in body) == (200, False)


def test_ready__limits_the_time_of_a_check(client, monkeypatch, hang):
    monkeypatch.setattr(health.Check, "timeout", timedelta(seconds=-0.9))  # the library adds a second
    monkeypatch.setattr(health.Database, "measure", hang)
    started = time.monotonic()

    assert ready(client)[0] == 500

    assert time.monotonic() - started < 10


def test_ready__fails_if_the_pool_has_no_connection(client, monkeypatch):
    full = Mock(side_effect=OperationalError("no connection after 5 s"))
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", full)

    assert "Unavailable" in ready(client)[1]["pool"]


@pytest.fixture
def missing_migration():
    """A migration of this release that the database lacks."""
    recorder = MigrationRecorder(connection)
    ((app, name),) = MigrationLoader(connection).graph.leaf_nodes("generations")
    recorder.record_unapplied(app, name)
    yield f"{app}.{name}"
    recorder.record_applied(app, name)


def test_ready__names_missing_migrations(client, settings, missing_migration):
    settings.DEBUG = True

    status, body = ready(client)

    assert (status, body["migrations"]) == (500, f"Unavailable: missing: {missing_migration}")


@pytest.fixture
def newer_release():
    """A migration in the database that only a newer release has."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("generations", "0999_from_the_future")
    yield "generations.0999_from_the_future"
    recorder.record_unapplied("generations", "0999_from_the_future")


def test_ready__warns_of_migrations_of_a_newer_release(client, settings, newer_release):
    assert ready(client) == (200, dict.fromkeys(NAMES, "OK"))

    settings.DEBUG = True
    status, body = ready(client)

    assert (status, body["migrations"], body["warnings"]) == (200, "OK", {"migrations": f"unknown: {newer_release}"})


def test_ready__fails_for_migrations_of_a_newer_release_if_set_to(client, settings, newer_release):
    settings.DEBUG = settings.HEALTH_STRICT_MIGRATIONS = True

    status, body = ready(client)

    assert (status, body["migrations"]) == (500, f"Unavailable: unknown: {newer_release}")


def test_ready__does_not_warn_without_a_reason(client, settings):
    settings.DEBUG = True

    assert ready(client)[1]["warnings"] == {}


def test_ready__answers_within_six_seconds():
    added_by_the_library = 1

    assert health.STAFF_TIMEOUT + health.Check.timeout.total_seconds() + added_by_the_library <= 6


def test_is_staff__returns_its_connection(admin_user, rf):
    request = rf.get("/ht/")
    request.user = SimpleLazyObject(type(admin_user).objects.get)

    assert health._is_staff(request)

    assert connection.connection is None


def test_ready__returns_its_connections(client):
    for _ in range(10):
        ready(client)

    stats = connection.pool.get_stats()
    assert stats["pool_size"] - stats["pool_available"] <= 1  # this thread's own
