"""What is retried and how often, with connections that the server ends."""

import threading
from types import SimpleNamespace
from unittest.mock import Mock

import psycopg_pool
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg import errors

from apikeys.models import ApiKey
from lockngen.database import retry
from lockngen.database.retry import Outage


@pytest.fixture
def make_work():
    """Make a function that stores a key, and then calls the next of `failures`, if one is left."""

    def make(*failures, name: str = "Ann"):
        remaining = list(failures)

        def work(*_, **__) -> ApiKey:
            work.calls += 1
            made = ApiKey.objects.create(name=name, key_hash="0" * 64, prefix="lg_live_0")
            if remaining:
                remaining.pop(0)()
            return made

        work.calls = 0
        return work

    return make


def end_own_connection() -> None:
    connection.query("SELECT pg_terminate_backend(pg_backend_pid())")


def stored(*_, **__) -> ApiKey | None:
    return ApiKey.objects.filter(key_hash="0" * 64).first()


def test_unit_of_work__is_retried_on_a_new_connection(other, make_work):
    work = make_work(end_own_connection, end_own_connection)

    made = retry.unit_of_work()(work)()

    assert work.calls == 3
    assert list(ApiKey.objects.all()) == [made]


def test_unit_of_work__fails_after_its_last_attempt(other, make_work, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 3, 0
    work = make_work(*[end_own_connection] * 9)

    with pytest.raises(OperationalError, match="terminating connection"):
        retry.unit_of_work()(work)()

    assert work.calls == 3
    assert not ApiKey.objects.exists()


def test_unit_of_work__long_running_is_retried_by_the_worker_s_policy(other, make_work, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 1, 0
    work = make_work(*[end_own_connection] * 3)

    made = retry.unit_of_work(long_running=True)(work)()

    assert work.calls == 4
    assert list(ApiKey.objects.all()) == [made]


@pytest.mark.parametrize("error", [ValueError("no"), errors.DiskFull(), IntegrityError()])
def test_unit_of_work__permanent_error_is_not_retried(transactional_db, make_work, error):
    work = make_work(Mock(side_effect=error))

    with pytest.raises(type(error)):
        retry.unit_of_work()(work)()

    assert work.calls == 1
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("in_one_statement", [False, True])
def test_unit_of_work__inside_a_transaction_is_refused(transactional_db, make_work, in_one_statement):
    work = make_work()

    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        retry.unit_of_work(in_one_statement=in_one_statement)(work)()

    assert work.calls == 0


def test_unit_of_work__victim_of_a_deadlock_is_retried(other):
    for name in ("left", "right"):
        other.execute(f"CREATE TABLE deadlock_{name} AS SELECT 0 AS value")
    both_have_one = threading.Barrier(2, timeout=10)
    attempts = []

    @retry.unit_of_work()
    def raise_both(first: str, second: str) -> None:
        attempts.append(first)
        connection.query(f"UPDATE deadlock_{first} SET value = value + 1")
        if len(attempts) <= 2:
            both_have_one.wait()
        connection.query(f"UPDATE deadlock_{second} SET value = value + 1")

    def in_thread(*names: str) -> threading.Thread:
        def body():
            raise_both(*names)
            connection.close()

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    for thread in (in_thread("left", "right"), in_thread("right", "left")):
        thread.join(20)

    assert len(attempts) == 3
    values = other.execute("SELECT deadlock_left.value, deadlock_right.value FROM deadlock_left, deadlock_right")
    assert values.fetchone() == (2, 2)
    other.execute("DROP TABLE deadlock_left, deadlock_right")


def test_lost_commit__is_found_and_not_retried(transactional_db, make_work, lose_commits):
    work = make_work()
    lose_commits(1)

    found = retry.unit_of_work(find=stored)(work)()

    assert work.calls == 1
    assert list(ApiKey.objects.all()) == [found]


def test_lost_commit__without_find_is_not_retried(transactional_db, make_work, lose_commits):
    work = make_work()
    lose_commits(1)

    with pytest.raises(retry.InDoubt, match="server closed") as caught:
        retry.unit_of_work()(work)()

    assert work.calls == 1
    assert retry.outage(caught.value) is Outage.CONNECTION_LOST


def test_lost_commit__stays_in_doubt_while_find_fails(transactional_db, make_work, lose_commits, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 3, 0
    work = make_work()
    lose_commits(1)

    with pytest.raises(retry.InDoubt):
        retry.unit_of_work(find=Mock(side_effect=errors.TooManyConnections))(work)()

    assert work.calls == 1
    assert stored() is not None


def test_lost_commit__find_is_retried(transactional_db, make_work, lose_commits):
    work, calls = make_work(), []

    def find():
        calls.append(1)
        if len(calls) == 1:
            end_own_connection()
        return stored()

    lose_commits(1)

    found = retry.unit_of_work(find=find)(work)()

    assert (work.calls, len(calls)) == (1, 2)
    assert list(ApiKey.objects.all()) == [found]


def test_lost_commit__is_found_after_a_failed_reconnect(transactional_db, make_work, lose_commits, monkeypatch):
    connect, work = DatabaseWrapper.get_new_connection, make_work()

    def refuse_once(self, params):
        monkeypatch.setattr(DatabaseWrapper, "get_new_connection", connect)
        raise psycopg_pool.PoolTimeout

    def work_and_refuse() -> ApiKey:
        made = work()
        monkeypatch.setattr(DatabaseWrapper, "get_new_connection", refuse_once)
        return made

    lose_commits(1)

    found = retry.unit_of_work(find=stored)(work_and_refuse)()

    assert work.calls == 1
    assert list(ApiKey.objects.all()) == [found]


def test_lost_commit__committed_after_find_conflicts_and_is_found(transactional_db, make_work, lose_commits):
    work, answers = make_work(), [None]
    lose_commits(1)

    found = retry.unit_of_work(find=lambda: answers.pop() if answers else stored())(work)()

    assert work.calls == 2
    assert list(ApiKey.objects.all()) == [found]


def test_one_statement__whose_result_is_lost_is_found(other, make_work):
    work = make_work(end_own_connection)

    found = retry.unit_of_work(find=stored, in_one_statement=True)(work)()

    assert work.calls == 1
    assert list(ApiKey.objects.all()) == [found]


def test_one_statement__that_was_not_executed_is_retried(other, make_work):
    work, failures = make_work(), [end_own_connection]

    def fail_or_work() -> ApiKey:
        if failures:
            failures.pop()()
        return work()

    made = retry.unit_of_work(find=stored, in_one_statement=True)(fail_or_work)()

    assert list(ApiKey.objects.all()) == [made]


def test_rolled_back_commit__is_retried(other, make_work):
    """The server ends the connection in COMMIT itself: the code is the same as that of a lost one."""
    other.execute("""
        CREATE TABLE commit_victims (name text);
        CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON commit_victims DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION end_connection();
    """)

    def insert_victim():
        connection.query("INSERT INTO commit_victims VALUES ('Ann')")

    work = make_work(insert_victim)

    try:
        made = retry.unit_of_work(find=stored)(work)()
    finally:
        other.execute("DROP TABLE commit_victims; DROP FUNCTION end_connection")

    assert work.calls == 2
    assert list(ApiKey.objects.all()) == [made]


def test_idempotent__is_retried_on_a_new_connection(other):
    calls = []

    @retry.idempotent
    def count() -> int:
        calls.append(1)
        if len(calls) == 1:
            end_own_connection()
        return ApiKey.objects.count()

    assert (count(), len(calls)) == (0, 2)


def test_idempotent__is_called_once_inside_a_transaction(other):
    calls = []

    @retry.idempotent
    def fail() -> None:
        calls.append(1)
        end_own_connection()

    with pytest.raises(OperationalError), transaction.atomic():
        fail()

    assert len(calls) == 1


def test_pause__holds_no_connection(transactional_db, monkeypatch):
    held = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: held.append(connection.connection)))
    remaining = [errors.LockNotAvailable()]

    @retry.idempotent
    def work() -> str:
        connection.ensure_connection()
        if remaining:
            raise remaining.pop()
        return "done"

    assert work() == "done"
    assert held == [None]
