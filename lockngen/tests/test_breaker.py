"""Requests fail at once while the database is unavailable."""

import os
import threading

import psycopg
import pytest

from lockngen.database import outage_flag
from lockngen.database.breaker import Breaker, breaker, probe
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def is_back():
    return threading.Event()


@pytest.fixture
def own_breaker(is_back):
    """A breaker whose probe fails until `is_back` is set. Its thread ends with the test."""

    def fail() -> None:
        if not is_back.is_set():
            raise psycopg.OperationalError("connection refused")

    own_breaker = Breaker(fail)
    yield own_breaker
    is_back.set()
    wait_until(lambda: not own_breaker.is_open)


def test_breaker__is_open_until_a_probe_succeeds(own_breaker, is_back, caplog):
    assert not own_breaker.is_open

    own_breaker.report()
    own_breaker.report()
    assert own_breaker.is_open
    wait_until(lambda: "503 until the database is available: connection refused" in caplog.text)

    is_back.set()
    wait_until(lambda: not own_breaker.is_open)
    assert caplog.text.count("503 until") == 1


def test_false_alarm__closes_at_once(own_breaker, is_back, caplog):
    is_back.set()

    own_breaker.report()

    wait_until(lambda: not own_breaker.is_open)
    assert not caplog.text


def test_breaker__opens_again(own_breaker, is_back):
    is_back.set()
    own_breaker.report()
    wait_until(lambda: not own_breaker.is_open)

    is_back.clear()
    own_breaker.report()

    assert own_breaker.is_open


def test_breaker__opens_with_that_of_another_process(own_breaker, is_back):
    outage_flag.set_to(True)

    assert own_breaker.is_open

    is_back.set()
    wait_until(lambda: not own_breaker.is_open)
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
