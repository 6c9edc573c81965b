"""Waiting for the database when a process starts."""

import threading

import pytest
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

from lockngen.database.startup import wait_for_database


@pytest.fixture
def make_reachable(settings, monkeypatch, change_policy):
    """The database is unreachable until this function is called."""
    params = connection.get_connection_params()
    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", lambda _: {**params, "host": "/nowhere"})
    settings.DB_STARTUP_TIMEOUT = 5
    change_policy("DATABASE_STARTUP", first_pause=0.01)
    return lambda: monkeypatch.setattr(DatabaseWrapper, "get_connection_params", lambda _: params)


def test_wait__ends_at_once_with_a_database(db, caplog):
    assert wait_for_database()
    assert caplog.messages == []


def test_wait__is_logged_once(make_reachable, caplog):
    threading.Timer(0.2, make_reachable).start()

    assert wait_for_database()

    (message,) = caplog.messages
    assert message.startswith("Waiting up to 5 s for the database: connection")
    assert "\n" not in message


def test_wait__ends_after_its_timeout(make_reachable, settings):
    settings.DB_STARTUP_TIMEOUT = 0.1

    assert not wait_for_database()
