import json
import threading
import time
from datetime import timedelta
from io import BytesIO
from unittest.mock import Mock

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.test import Client
from django.utils.functional import SimpleLazyObject

from lockngen import health

# The checks run in threads of their own, which see only what was committed.
pytestmark = pytest.mark.django_db(transaction=True)
NAMES = {"database", "migrations", "pool"}


def ready(client: Client, path: str = "/ht/", **headers) -> tuple[int, dict]:
    answer = client.get(f"{path}?format=json", headers=headers)
    return answer.status_code, json.loads(answer.content)


@pytest.fixture
def broken(monkeypatch):
    """A pool check that fails."""

    def fail(self):
        raise health.ServiceUnavailable("all connections are taken by 10.0.0.7")

    monkeypatch.setattr(health.Pool, "measure", fail)


def test_ready__shows_everybody_names_and_ok(client):
    assert ready(client) == (200, dict.fromkeys(NAMES, "OK"))


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/plain"])
def test_ready__speaks_the_format_that_is_asked_for(client, accept):
    answer = client.get("/ht/", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(accept)


@pytest.mark.parametrize("accept", ["text/html, image/gif, *; q=.2, */*; q=.2", "garbage"])
def test_ready__answers_an_accept_header_that_nobody_understands(client, settings, accept):
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


def test_ready__shows_nobody_figures_for_an_empty_token(client, settings):
    settings.HEALTH_TOKEN = ""

    assert "figures" not in ready(client, Authorization="Bearer ")[1]


def test_ready__shows_figures_to_staff_alone(client, django_user_model):
    user = django_user_model.objects.create_user("ann")
    client.force_login(user)
    assert "figures" not in ready(client)[1]

    user.is_staff = True
    user.save()
    assert "figures" in ready(client)[1]


def test_ready__fails_with_the_reason_for_those_who_may_see_it(client, broken, settings):
    status, body = ready(client)
    assert (status, body["database"]) == (500, "OK")
    assert "10.0.0.7" not in body["pool"]

    settings.DEBUG = True
    assert "10.0.0.7" in ready(client)[1]["pool"]


@pytest.mark.parametrize("debug", [True, False])
def test_ready__fails_while_the_database_is_away(client, monkeypatch, settings, debug):
    settings.DEBUG = debug
    monkeypatch.setattr(health.Database, "measure", Mock(side_effect=OperationalError("no route to 10.0.0.7")))

    status, body = ready(client)

    assert (status, body["migrations"]) == (500, "OK")
    assert ("10.0.0.7" in body["database"]) == debug


def test_ready__fails_for_an_accept_header_that_nobody_understands_as_well(client, broken):
    assert client.get("/ht/", headers={"Accept": "garbage"}).status_code == 500


@pytest.fixture
def hang():
    """What never comes back while a test lasts."""
    over = threading.Event()
    yield lambda *_: over.wait(20)
    over.set()


def test_ready__waits_a_moment_only_to_receive_who_is_logged_in(client, admin_user, monkeypatch, hang):
    client.force_login(admin_user)
    monkeypatch.setattr(health, "STAFF_TIMEOUT", 0.1)
    monkeypatch.setattr(health, "_is_staff", hang)
    started = time.monotonic()

    status, body = ready(client)

    assert (status, "figures" in body) == (200, False)
    assert time.monotonic() - started < 10


def test_ready__answers_where_nobody_can_say_who_is_logged_in(client, admin_user, monkeypatch):
    client.force_login(admin_user)
    monkeypatch.setattr(health, "_is_staff", Mock(side_effect=OperationalError("the connection is lost")))

    status, body = ready(client)

    assert (status, "figures" in body) == (200, False)


def test_ready__gives_up_on_a_check_that_takes_long(client, monkeypatch, hang):
    monkeypatch.setattr(health.Check, "timeout", timedelta(seconds=-0.9))  # the library adds a second
    monkeypatch.setattr(health.Database, "measure", hang)
    started = time.monotonic()

    assert ready(client)[0] == 500

    assert time.monotonic() - started < 10


def test_ready__fails_where_the_pool_has_no_connection(client, monkeypatch):
    full = Mock(side_effect=OperationalError("no connection after 5 s"))
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", full)

    assert "Unavailable" in ready(client)[1]["pool"]


def test_ready__names_missing_migrations(client, settings):
    settings.DEBUG = True
    call_command("migrate", "generations", "zero", verbosity=0)
    try:
        status, body = ready(client)
    finally:
        call_command("migrate", verbosity=0)

    assert status == 500
    assert body["migrations"].startswith("Unavailable: missing: generations.0001_initial")
    assert ready(client)[0] == 200


@pytest.fixture
def newer_release():
    """A migration in the database that only a newer release has."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("generations", "0999_from_the_future")
    yield "generations.0999_from_the_future"
    recorder.record_unapplied("generations", "0999_from_the_future")


def test_ready__only_warns_of_migrations_of_a_newer_release(client, settings, newer_release):
    assert ready(client) == (200, dict.fromkeys(NAMES, "OK"))

    settings.DEBUG = True
    status, body = ready(client)

    assert (status, body["migrations"], body["warnings"]) == (200, "OK", {"migrations": f"unknown: {newer_release}"})


def test_ready__fails_for_migrations_of_a_newer_release_where_that_is_asked_for(client, settings, newer_release):
    settings.DEBUG = settings.HEALTH_STRICT_MIGRATIONS = True

    status, body = ready(client)

    assert (status, body["migrations"]) == (500, f"Unavailable: unknown: {newer_release}")


def test_ready__does_not_warn_where_all_is_in_order(client, settings):
    settings.DEBUG = True

    assert ready(client)[1]["warnings"] == {}


@pytest.fixture
def fresh_probe():
    health._probe_storage.cache_clear()
    yield
    health._probe_storage.cache_clear()


@pytest.mark.usefixtures("fresh_probe")
@pytest.mark.parametrize("path", ["/ht/storage", "/ht/storage/"])
def test_storage__is_written_and_read_and_left_clean(client, settings, image_folder, path):
    settings.DEBUG = True

    status, body = ready(client, path)

    assert (status, body["storage"]) == (200, "OK")
    assert body["figures"]["storage"]["probe_ms"] > 0
    assert [path for path in image_folder.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("fresh_probe")
def test_storage__that_takes_no_file_fails_while_the_web_is_ready(client, settings, image_folder):
    image_folder.write_text("a file where the folder should be")

    assert ready(client, "/ht/storage") == (500, {"storage": "Unavailable: see the log"})
    assert ready(client)[0] == 200

    settings.DEBUG = True
    assert "Not a directory" in ready(client, "/ht/storage")[1]["storage"]


@pytest.mark.usefixtures("fresh_probe")
def test_storage__that_gives_something_else_back_fails(client, settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setattr(
        "lockngen.storage.filesystem.DurableFileSystemStorage.open", lambda self, name: BytesIO(b"somebody else's")
    )

    status, body = ready(client, "/ht/storage")

    assert (status, body["storage"]) == (500, "Unavailable: the file read differs from the file written")


@pytest.mark.usefixtures("fresh_probe")
def test_storage__is_probed_once_in_half_a_minute(client, monkeypatch):
    saved = Mock(wraps=default_storage.save)
    monkeypatch.setattr("lockngen.storage.filesystem.DurableFileSystemStorage.save", saved)
    monkeypatch.setattr(health.time, "monotonic", lambda: now)

    for now in (3000, 3029, 3030, 3059):  # noqa: B007  the clock reads it
        assert ready(client, "/ht/storage")[0] == 200

    assert saved.call_count == 2


@pytest.fixture
def run():
    def run(statement: str, *parameters) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    return run


@pytest.fixture
def make_worker(run):
    """A worker that gave a sign of life so many seconds ago, of an empty queue."""
    insert = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 second')"
    return lambda seconds=0: run(insert, seconds)


def test_workers__are_missed_while_the_web_is_ready(client, settings, make_worker):
    make_worker(seconds=31)
    settings.DEBUG = True

    status, body = ready(client, "/ht/workers")

    assert (status, body["workers"]) == (500, "Unavailable: no worker is alive")
    assert ready(client)[0] == 200


def test_workers__alive_ones_are_counted_with_the_generations_that_wait(client, settings, make_worker, make_generation):
    settings.DEBUG = True
    make_worker(seconds=29), make_worker()
    make_generation(created_at=Now() - timedelta(seconds=90)), make_generation()
    make_generation(created_at=Now() - timedelta(seconds=200)).start()

    status, body = ready(client, "/ht/workers/")

    assert (status, body["workers"]) == (200, "OK")
    figures = body["figures"]["workers"]
    assert (figures["alive"], figures["waiting"]) == (2, 2)
    assert 90 <= figures["oldest_waiting_seconds"] < 100


def test_workers__have_nothing_to_do_in_an_empty_queue(client, settings, make_worker):
    settings.DEBUG = True
    make_worker()

    figures = ready(client, "/ht/workers")[1]["figures"]["workers"]

    assert figures == {
        "renderers": [{"renderer": "sketch:", "state": "ok"}],
        "alive": 1,
        "waiting": 0,
        "oldest_waiting_seconds": None,
    }


def test_ready__answers_within_six_seconds():
    added_by_the_library = 1

    assert health.STAFF_TIMEOUT + health.Check.timeout.total_seconds() + added_by_the_library <= 6


def test_is_staff__gives_its_connection_back(admin_user, rf):
    request = rf.get("/ht/")
    request.user = SimpleLazyObject(type(admin_user).objects.get)

    assert health._is_staff(request)

    assert connection.connection is None


def test_ready__gives_its_connections_back(client):
    for _ in range(10):
        ready(client)

    stats = connection.pool.get_stats()
    assert stats["pool_size"] - stats["pool_available"] <= 1  # this thread's own


def test_live__answers_any_host_without_a_database(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get("/ht/live", headers={"Host": "10.0.0.7:8000"})

    assert (answer.status_code, answer.content) == (200, b"OK")
    assert answer["Cache-Control"] == "no-store"
    assert client.get("/ht/live/").content == b"OK"
