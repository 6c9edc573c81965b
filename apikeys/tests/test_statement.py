"""How the statement behaves beside others: what it waits for, what it reads, and that it is sent once."""

import time
from threading import Thread

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from apikeys import tokens
from apikeys.admission import statement
from apikeys.buckets import Bucket
from apikeys.models import ApiKey
from lockngen import retry
from lockngen.postgresql.base import DatabaseWrapper


def admit(key: ApiKey):
    return ApiKey.objects.admit(key.token)


@pytest.fixture
def other(transactional_db):
    """A second connection to the tests' database."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        yield other


def test_last_use__waits_for_nobody_who_holds_the_key(key, other):
    with other.transaction():
        other.execute("SELECT FROM apikeys_apikey FOR UPDATE")

        assert admit(key).is_admitted

    assert ApiKey.objects.get().last_used_at is None
    admit(key)
    assert ApiKey.objects.get().last_used_at


def test_clock__is_read_after_the_wait_for_the_bucket(key, other):
    """What was taken while a call waited lies before it, whenever that call began."""
    admit(key)

    with other.transaction():
        other.execute("UPDATE apikeys_bucket SET spent = 0")
        waiting = start(lambda: admit(key))
        wait_until_blocked(other)
        held_until = other.execute("SELECT clock_timestamp()").fetchone()[0]
    waiting.join(10)

    assert Bucket.objects.get().measured_at > held_until


def test_revocation__holds_from_the_next_call_on_in_every_connection(key, other):
    assert admit(key).is_admitted

    other.execute("UPDATE apikeys_apikey SET revoked_at = now()")

    assert admit(key).reason == "revoked"


def start(work) -> Thread:
    def body():
        work()
        connection.close()

    thread = Thread(target=body)
    thread.start()
    return thread


def wait_until_blocked(other) -> None:
    deadline = time.monotonic() + 10
    while not other.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_statement__is_not_repeated_once_it_was_sent(key, other):
    sent = []

    def end_connection(run, sql, params, many, context):
        sent.append(sql)
        return run("SELECT pg_terminate_backend(pg_backend_pid())", None, many, context)

    with connection.execute_wrapper(end_connection), pytest.raises(OperationalError):
        admit(key)

    assert len(sent) == 1
    connection.close()  # as the end of a request does


def test_connection__is_tried_for_again_before_anything_is_sent(key, other, monkeypatch):
    connection.close()
    tries, connect = [], DatabaseWrapper.get_new_connection

    def fail_once(self, params):
        tries.append(1)
        if len(tries) == 1:
            with self.wrap_database_errors:
                raise psycopg.OperationalError("connection refused")
        return connect(self, params)

    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", fail_once)

    assert admit(key).is_admitted
    assert len(tries) == 2


def test_connect__leaves_a_transaction_as_it_is(key):
    with transaction.atomic():
        retry.connect()

        assert connection.in_atomic_block
        assert admit(key).is_admitted


@pytest.fixture
def many_keys(db, key):
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO apikeys_apikey (id, key_hash, prefix, name)
               SELECT gen_random_uuid(), encode(sha256(n::text::bytea), 'hex'), 'lg_live_' || n, 'Client ' || n
               FROM generate_series(1, 100000) AS n"""
        )
        cursor.execute("ANALYZE apikeys_apikey")
    return key


def scans(plan) -> set[tuple[str, str]]:
    """Each table that a plan reads, and how."""
    nodes = [plan]
    for node in nodes:
        nodes += node.get("Plans", [])
    return {
        (node["Node Type"], node["Relation Name"])
        for node in nodes
        if "Scan" in node["Node Type"]
        if "Relation Name" in node
    }


def test_plan__reads_by_index_alone_among_100_000_keys(many_keys):
    parameters = {"digest": tokens.digest(many_keys.token), "units": 1}
    prepared = statement(ApiKey) % {"digest": "$1", "units": "$2"}
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT json) " + statement(ApiKey), parameters)
        plans = [cursor.fetchone()[0]]
        cursor.execute(f"PREPARE admit AS {prepared}")
        for mode in ("force_custom_plan", "force_generic_plan"):
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            cursor.execute(f"EXPLAIN (FORMAT json) EXECUTE admit('{parameters['digest']}', 1)")
            plans.append(cursor.fetchone()[0])
        cursor.execute("DEALLOCATE admit")

    for plan in plans:
        assert scans(plan[0]["Plan"]) == {("Index Scan", "apikeys_apikey")}
        assert "apikey_key_hash_unique" in str(plan)
        assert "'Conflict Resolution': 'UPDATE'" in str(plan)
