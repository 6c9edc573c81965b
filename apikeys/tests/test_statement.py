"""The statement that authenticates: locks, query plans, prepared statements and retries."""

from threading import Thread

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.rate_limit.bucket import RateLimitBucket
from apikeys.rate_limit.statement import RECORD_USE, statement
from lockngen.database import retry
from lockngen.database.base import DatabaseWrapper
from lockngen.tests.support.waiting import wait_until


def authenticate(key: ApiKey):
    return ApiKey.objects.authenticate(key.token)


def test_last_use__skips_a_locked_key(key, other, caplog):
    caplog.set_level("INFO")
    with other.transaction():
        other.execute("SELECT FROM apikeys_apikey FOR UPDATE")

        assert authenticate(key).is_admitted

    assert "was not recorded" not in caplog.text  # as after a wait until the timeout
    assert ApiKey.objects.get().last_used_at is None
    authenticate(key)
    assert ApiKey.objects.get().last_used_at


def test_last_use__error_does_not_fail_the_call(key, caplog):
    def fail(execute, sql, params, many, context):
        if sql == RECORD_USE:
            raise OperationalError("away")
        return execute(sql, params, many, context)

    with caplog.at_level("INFO"), connection.execute_wrapper(fail):
        assert authenticate(key).is_admitted

    assert "The use of a key was not recorded: away" in caplog.text


def test_clock__is_read_after_the_wait_for_the_bucket(key, other):
    """So a call that waited is never dated before the one it waited for."""
    authenticate(key)

    with other.transaction():
        other.execute("UPDATE apikeys_bucket SET spent = 0")
        waiting = start(lambda: authenticate(key))
        wait_until_blocked(other)
        held_until = other.execute("SELECT clock_timestamp()").fetchone()[0]
    waiting.join(10)

    assert RateLimitBucket.objects.get().measured_at > held_until


def test_revoke__applies_to_the_next_call_of_another_connection(key, other):
    assert authenticate(key).is_admitted

    other.execute("UPDATE apikeys_apikey SET revoked_at = now()")

    assert authenticate(key).reason == "revoked"


def start(work) -> Thread:
    def body():
        work()
        connection.close()

    thread = Thread(target=body)
    thread.start()
    return thread


def wait_until_blocked(other) -> None:
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: other.execute(waiting).fetchone() is not None)


def test_statement__is_not_retried_once_it_was_sent(key, other):
    sent = []

    def end_connection(run, sql, params, many, context):
        sent.append(sql)
        return run("SELECT pg_terminate_backend(pg_backend_pid())", None, many, context)

    with connection.execute_wrapper(end_connection), pytest.raises(OperationalError):
        authenticate(key)

    assert len(sent) == 1
    connection.close()  # as the end of a request does


def test_connect__is_retried_before_the_statement_is_sent(key, other, monkeypatch):
    connection.close()
    attempts, connect = [], DatabaseWrapper.get_new_connection

    def fail_once(self, params):
        attempts.append(1)
        if len(attempts) == 1:
            with self.wrap_database_errors:
                raise psycopg.OperationalError("connection refused")
        return connect(self, params)

    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", fail_once)

    assert authenticate(key).is_admitted
    assert len(attempts) == 2


def test_connect__in_a_transaction_keeps_the_connection(key):
    with transaction.atomic():
        retry.connect()

        assert connection.in_atomic_block
        assert authenticate(key).is_admitted


@pytest.fixture
def many_keys(db, key):
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO apikeys_apikey (id, key_hash, prefix, name)
               SELECT gen_random_uuid(), encode(sha256(n::text::bytea), 'hex'), 'lg_live_' || n, 'Client ' || n
               FROM generate_series(1, 10000) AS n"""
        )
        cursor.execute("ANALYZE apikeys_apikey")
    return key


def scans(plan) -> set[tuple[str, str]]:
    """The scan nodes of a plan, with their tables."""
    nodes = [plan]
    for node in nodes:
        nodes += node.get("Plans", [])
    return {
        (node["Node Type"], node["Relation Name"])
        for node in nodes
        if "Scan" in node["Node Type"]
        if "Relation Name" in node
    }


def test_plan__uses_the_index_with_10_000_keys(many_keys):
    parameters = {"digest": tokens.digest(many_keys.token), "units": 1}
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT json) " + statement(ApiKey), parameters)
        plans = [cursor.fetchone()[0]]
        for mode in ("force_custom_plan", "force_generic_plan"):
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            cursor.execute(f"EXPLAIN (FORMAT json) EXECUTE {prepare(many_keys)} (%(digest)s, %(units)s)", parameters)
            plans.append(cursor.fetchone()[0])

    assert parameters["digest"] in str(plans[1])
    assert "$1" in str(plans[2])
    for plan in plans:
        assert scans(plan[0]["Plan"]) == {("Index Scan", "apikeys_apikey")}
        assert "apikey_key_hash_unique" in str(plan)
        assert "'Conflict Resolution': 'UPDATE'" in str(plan)


def test_statement__writes_no_wal(make_key):
    key = make_key(rate_limit=5)
    authenticate(key)
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, WAL, FORMAT json) " + statement(ApiKey),
            {"digest": tokens.digest(key.token), "units": 1},
        )
        plan = cursor.fetchone()[0][0]["Plan"]

    assert plan["WAL Bytes"] == 0
    assert authenticate(key).rate_limit_state.remaining == 2  # EXPLAIN ANALYZE took one


def prepare(key: ApiKey) -> str:
    """The name of the prepared statement in the server, once there is one."""
    while True:
        authenticate(key)
        if names := connection.query("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%apikeys_bucket%'"):
            ((name,),) = names
            return name


def discard_connections() -> None:
    """Close all connections, and with them their prepared statements."""
    connection.close()
    connection.close_pool()


def test_statement__is_planned_once_per_connection(key, other):
    discard_connections()

    for _ in range(30):
        authenticate(key)

    ((text, generic, custom),) = connection.query(
        "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
    )
    assert "apikeys_bucket" in text
    assert (custom, generic) == (5, 20)  # after 5 that weren't prepared, by DB_PREPARE_THRESHOLD


def test_statement__is_not_prepared_without_a_threshold(key, other, monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "prepare_threshold", None)
    discard_connections()

    auth_results = [authenticate(key) for _ in range(10)]

    assert connection.query("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    assert [auth_result.is_admitted for auth_result in auth_results] == [True] * 10
    discard_connections()
