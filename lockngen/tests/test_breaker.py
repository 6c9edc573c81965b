"""Requests fail at once while the database is unavailable."""

import os
import threading

import psycopg
import pytest

from lockngen.database import outage_flag
from lockngen.database.breaker import Breaker, breaker, probe
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def failing():
    """A probe that fails until it is set to succeed."""
    is_back = threading.Event()

    def fail() -> None:
        if not is_back.is_set():
            raise psycopg.OperationalError("connection refused")

    fail.is_back = is_back
    yield fail
    is_back.set()


def test_breaker__is_open_until_a_probe_succeeds(failing, caplog):
    breaker = Breaker(failing)
    assert not breaker.is_open

    breaker.report()
    breaker.report()
    assert breaker.is_open
    wait_until(lambda: "503 until the database is available: connection refused" in caplog.text)

    failing.is_back.set()
    wait_until(lambda: not breaker.is_open)
    assert caplog.text.count("503 until") == 1


def test_false_alarm__closes_at_once(caplog):
    breaker = Breaker(lambda: None)

    breaker.report()

    wait_until(lambda: not breaker.is_open)
    assert not caplog.text


def test_breaker__opens_again(failing):
    failing.is_back.set()
    breaker = Breaker(failing)
    breaker.report()
    wait_until(lambda: not breaker.is_open)

    failing.is_back.clear()
    breaker.report()

    assert breaker.is_open


def test_breaker__opens_with_that_of_another_process(failing):
    breaker = Breaker(failing)
    outage_flag.set_to(True)

    assert breaker.is_open

    failing.is_back.set()
    wait_until(lambda: not breaker.is_open)
    assert not outage_flag.is_set()


def test_flag__is_shared_with_forked_processes():
    if not (child := os.fork()):
        outage_flag.set_to(True)
        os._exit(0)
    os.waitpid(child, 0)

    assert outage_flag.is_set()
    outage_flag.set_to(False)


def test_probe__succeeds_on_a_primary(transactional_db):
    probe()


def test_probe__fails_without_a_server(monkeypatch):
    parameters = {"host": "127.0.0.1", "port": 1, "dbname": "x"}
    monkeypatch.setattr("lockngen.database.breaker.connection.get_connection_params", lambda: parameters)

    with pytest.raises(psycopg.OperationalError):
        probe()


def test_api__responds_at_once_while_it_is_open(api, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(breaker, "_is_open", True)

    with django_assert_num_queries(0):
        response = api.get("/api/v1/generations")

    assert (response.status_code, response["Retry-After"]) == (503, "2")
