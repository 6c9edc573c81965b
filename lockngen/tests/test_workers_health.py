"""The health check of the workers."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from lockngen.tests.support.health import ready

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def make_worker():
    """A worker whose last heartbeat was so many seconds ago."""
    insert = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 second')"
    return lambda seconds=0: connection.query(insert, seconds)


def test_workers__without_a_running_one_fail_while_the_web_is_ready(client, settings, make_worker):
    make_worker(seconds=31)
    settings.DEBUG = True

    status, body = ready(client, "/ht/workers")

    assert (status, body["workers"]) == (500, "Unavailable: no worker is alive")
    assert ready(client)[0] == 200


def test_workers__are_counted_with_the_waiting_generations(client, settings, make_worker, make_generation):
    settings.DEBUG = True
    make_worker(seconds=29), make_worker()
    make_generation(created_at=Now() - timedelta(seconds=90)), make_generation()
    make_generation(created_at=Now() - timedelta(seconds=200)).start()

    status, body = ready(client, "/ht/workers/")

    assert (status, body["workers"]) == (200, "OK")
    figures = body["figures"]["workers"]
    assert (figures["alive"], figures["waiting"]) == (2, 2)
    assert 90 <= figures["oldest_waiting_seconds"] < 100


def test_workers__have_figures_for_an_empty_queue(client, settings, make_worker):
    settings.DEBUG = True
    make_worker()

    figures = ready(client, "/ht/workers")[1]["figures"]["workers"]

    assert figures == {
        "renderers": [{"renderer": "sketch:", "state": "ok"}],
        "alive": 1,
        "waiting": 0,
        "oldest_waiting_seconds": None,
    }
