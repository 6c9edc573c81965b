"""The pool after the server has ended its connections."""

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django import connector_params

from apikeys.models import ApiKey
from lockngen.database import base
from lockngen.database.base import is_ended
from lockngen.queue import make_pool
from lockngen.tests.support.embedded_servers import in_child, result_of
from lockngen.tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full_pool(settings):
    """The pool with as many idle connections as it may have."""
    connection.close()
    with ExitStack() as stack:
        for _ in range(settings.DB_POOL_MAX_SIZE):
            stack.enter_context(connection.pool.connection())
    return connection.pool


def end_all(other: psycopg.Connection) -> int:
    ended = other.execute(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return ended.fetchone()[0]


def test_pool__hands_out_no_terminated_connection(full_pool, other, settings):
    for _ in range(5):
        assert end_all(other) >= 1
        started = time.monotonic()

        assert ApiKey.objects.count() == 0

        assert time.monotonic() - started < 1
        connection.close()


def test_pool__replaces_all_terminated_connections(full_pool, other, settings):
    assert end_all(other) >= settings.DB_POOL_MAX_SIZE

    ApiKey.objects.count()
    connection.close()

    wait_until(lambda: full_pool.get_stats()["pool_available"] >= settings.DB_POOL_MAX_SIZE, seconds=5)


def test_checkout__sends_no_query(full_pool, other):
    def statements() -> int:
        return other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lockngen' AND query_start > now()"
            " AND datname = current_database()"  # other tests use this server too
        ).fetchone()[0]

    with CaptureQueriesContext(connection) as captured:
        connection.ensure_connection()

    assert (len(captured), statements()) == (0, 0)


def test_is_ended__is_false_with_other_input(other):
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as listener:
        listener.execute("LISTEN channel")
        other.execute("NOTIFY channel, 'payload'")
        time.sleep(0.1)

        assert not is_ended(listener)
        assert listener.execute("SELECT 1").fetchone() == (1,)


def test_is_ended__is_true_after_the_server_closed_the_connection(other):
    idle = psycopg.connect(**connection.get_connection_params(), autocommit=True)
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [idle.info.backend_pid])

    assert is_ended(idle)
    assert idle.closed


def test_statement__times_out_if_the_server_does_not_respond(settings, monkeypatch):
    monkeypatch.setattr(base, "SECONDS_OF_GRACE", 0)
    settings.DB_TIMEOUTS = {"statement_timeout": 200}
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")  # like a frozen server, which doesn't apply its own
        started = time.monotonic()

        with pytest.raises(OperationalError, match="the server does not answer"):
            cursor.execute("SELECT pg_sleep(2)")

    assert 0.2 <= time.monotonic() - started < 1.5
    connection.close()
    assert ApiKey.objects.count() == 0


def test_statement__has_no_timeout_if_it_is_lifted(settings, monkeypatch):
    monkeypatch.setattr(base, "SECONDS_OF_GRACE", 0)
    settings.DB_TIMEOUTS = {"statement_timeout": 200}

    with connection.without_statement_timeout(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.4)")

    assert not connection.connection.is_long_running


def test_connect__is_timed(full_pool):
    assert 0 < base.Connection.connect_ms < 1000


def backend() -> tuple[int, int]:
    ApiKey.objects.count()
    return id(connection.pool), connection.connection.info.backend_pid


def use_prepared_cursor(statement: str = "SELECT 1") -> ServerBindingCursor:
    with connection.prepared_cursor() as cursor:
        cursor.execute(statement)
        return cursor.cursor


def test_prepared_cursor__is_kept_by_its_connection():
    assert use_prepared_cursor() is use_prepared_cursor()


def test_prepared_cursor__within_another_is_a_second_one():
    with connection.prepared_cursor() as outer:
        outer.execute("SELECT 1")
        inner = use_prepared_cursor("SELECT 2")

        assert inner is not outer.cursor
        assert outer.fetchone() == (1,)


def test_prepared_cursor__is_not_kept_after_an_error():
    before = use_prepared_cursor()

    with pytest.raises(DatabaseError):
        use_prepared_cursor("SELECT 1 / 0")

    assert use_prepared_cursor() is not before


def test_forked_process__has_its_own_pool():
    before = backend()

    of_child = result_of(in_child(backend))

    assert of_child[0] != before[0]
    assert of_child[1] != before[1]
    assert backend() == before


def test_pool_of_a_worker__drops_all_terminated_connections_at_once(other):
    async def seconds_after_a_restart(size: int) -> float:
        async with make_pool(kwargs=connector_params(), min_size=size, open=False) as pool:
            async with AsyncExitStack() as stack:
                for _ in range(size):
                    await stack.enter_async_context(pool.connection())
            await asyncio.to_thread(end_all, other)
            started = time.monotonic()
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            return time.monotonic() - started

    assert asyncio.run(seconds_after_a_restart(4)) < 0.9  # psycopg's own check would pause for a second
