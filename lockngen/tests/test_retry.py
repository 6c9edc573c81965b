"""What is repeated and how often, with connections that the server really ends."""

import threading
from types import SimpleNamespace

import psycopg
import psycopg_pool
import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from procrastinate.exceptions import ConnectorException
from psycopg import errors

from apikeys.models import ApiKey
from lockngen.database import retry
from lockngen.database.retry import Outage


def caused_by(error: Exception, wrapper: type[Exception] = DatabaseError) -> Exception:
    wrapped = wrapper()
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errors.DeadlockDetected(), Outage.ROLLED_BACK),
        (errors.LockNotAvailable(), Outage.ROLLED_BACK),
        (errors.TooManyConnections(), Outage.ROLLED_BACK),
        (psycopg_pool.PoolTimeout(), Outage.ROLLED_BACK),
        (errors.AdminShutdown(), Outage.CONNECTION_LOST),
        (errors.ProtocolViolation(), Outage.CONNECTION_LOST),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Outage.CONNECTION_LOST),
        (InterfaceError("connection already closed"), Outage.CONNECTION_LOST),
        (caused_by(errors.AdminShutdown(), ConnectorException), Outage.CONNECTION_LOST),
        (caused_by(errors.IdleInTransactionSessionTimeout()), Outage.PERMANENT),
        (caused_by(errors.DiskFull()), Outage.PERMANENT),
        (caused_by(errors.QueryCanceled()), Outage.PERMANENT),
        (caused_by(errors.UniqueViolation()), None),
        (caused_by(errors.UndefinedTable()), None),
        (caused_by(psycopg.InterfaceError("the cursor is closed"), InterfaceError), None),
        (ConnectorException(), None),
        (ValueError(), None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_outage__shows_what_an_error_means_for_its_transaction(error, meaning):
    assert retry.outage(error) is meaning
    assert retry.is_transient(error) == (meaning in (Outage.ROLLED_BACK, Outage.CONNECTION_LOST))


def test_outages__are_codes_of_the_server():
    for code in retry.OUTAGES:
        assert errors.lookup(code).sqlstate == code


@pytest.fixture
def make_work():
    """A function that stores a key, and each time first does the next of the given troubles."""

    def make(*troubles, name: str = "Ann"):
        remaining = list(troubles)

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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def fail_with(error: Exception):
    def fail():
        raise error

    return fail


def stored(*_, **__) -> ApiKey | None:
    return ApiKey.objects.filter(key_hash="0" * 64).first()


def test_unit_of_work__is_repeated_on_a_new_connection(other, make_work):
    work = make_work(end_own_connection, end_own_connection)

    made = retry.unit_of_work()(work)()

    assert work.calls == 3
    assert list(ApiKey.objects.all()) == [made]


def test_unit_of_work__gives_up_after_its_tries(other, make_work, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 3, 0
    work = make_work(*[end_own_connection] * 9)

    with pytest.raises(OperationalError, match="terminating connection"):
        retry.unit_of_work()(work)()

    assert work.calls == 3
    assert not ApiKey.objects.exists()


def test_unit_of_work__gives_up_when_the_next_try_would_be_too_late(other, make_work, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF, settings.DB_RETRY_TIMEOUT = 1000, 0.1, 0.5
    work = make_work(*[end_own_connection] * 1000)

    with pytest.raises(OperationalError):
        retry.unit_of_work()(work)()

    assert 1 < work.calls < 50


def test_unit_of_work__of_a_worker_is_patient(other, make_work, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 1, 0
    work = make_work(*[end_own_connection] * 3)

    made = retry.unit_of_work(long_running=True)(work)()

    assert work.calls == 4
    assert list(ApiKey.objects.all()) == [made]


def test_idempotent__of_a_worker_is_patient_for_a_time(transactional_db, settings):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF, settings.DB_WORKER_RETRY_TIMEOUT = 1, 0.1, 0.5
    calls = []

    def fail() -> None:
        calls.append(1)
        raise errors.LockNotAvailable

    with pytest.raises(errors.LockNotAvailable):
        retry.idempotent(fail, long_running=True)()

    assert len(calls) > 1


@pytest.mark.parametrize("error", [ValueError("no"), caused_by(errors.DiskFull(), OperationalError), IntegrityError()])
def test_unit_of_work__does_not_repeat_what_would_fail_again(transactional_db, make_work, error):
    work = make_work(fail_with(error))

    with pytest.raises(type(error)):
        retry.unit_of_work()(work)()

    assert work.calls == 1
    assert not ApiKey.objects.exists()


def test_unit_of_work__refuses_to_run_inside_a_transaction(transactional_db, make_work):
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        retry.unit_of_work()(make_work())()


def test_unit_of_work__repeats_the_victim_of_a_deadlock(other):
    for name in ("left", "right"):
        other.execute(f"CREATE TABLE deadlock_{name} AS SELECT 0 AS value")
    both_have_one = threading.Barrier(2, timeout=10)
    tries = []

    @retry.unit_of_work()
    def raise_both(first: str, second: str) -> None:
        tries.append(first)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE deadlock_{first} SET value = value + 1")
            if len(tries) <= 2:
                both_have_one.wait()
            cursor.execute(f"UPDATE deadlock_{second} SET value = value + 1")

    def in_thread(*names: str) -> threading.Thread:
        def body():
            raise_both(*names)
            connection.close()

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    for thread in (in_thread("left", "right"), in_thread("right", "left")):
        thread.join(20)

    assert len(tries) == 3
    values = other.execute("SELECT deadlock_left.value, deadlock_right.value FROM deadlock_left, deadlock_right")
    assert values.fetchone() == (2, 2)
    other.execute("DROP TABLE deadlock_left, deadlock_right")


def test_lost_commit__is_found_and_not_repeated(transactional_db, make_work, lose_commits):
    work = make_work()
    lose_commits(1)

    found = retry.unit_of_work(find=stored)(work)()

    assert work.calls == 1
    assert list(ApiKey.objects.all()) == [found]


def test_lost_commit__is_the_last_try_of_what_can_not_be_found(transactional_db, make_work, lose_commits):
    work = make_work()
    lose_commits(1)

    with pytest.raises(retry.InDoubt, match="server closed") as caught:
        retry.unit_of_work()(work)()

    assert work.calls == 1
    assert retry.outage(caught.value) is Outage.CONNECTION_LOST


def test_lost_commit__stays_in_doubt_where_it_can_not_be_looked_for(
    transactional_db, make_work, lose_commits, settings
):
    settings.DB_RETRY_ATTEMPTS, settings.DB_RETRY_BACKOFF = 3, 0
    work = make_work()
    lose_commits(1)

    def fail():
        raise errors.TooManyConnections

    with pytest.raises(retry.InDoubt):
        retry.unit_of_work(find=fail)(work)()

    assert work.calls == 1
    assert stored() is not None


def test_lost_commit__is_looked_for_again_where_looking_fails(transactional_db, make_work, lose_commits):
    work, looks = make_work(), []

    def find():
        looks.append(1)
        if len(looks) == 1:
            end_own_connection()
        return stored()

    lose_commits(1)

    found = retry.unit_of_work(find=find)(work)()

    assert (work.calls, len(looks)) == (1, 2)
    assert list(ApiKey.objects.all()) == [found]


def test_lost_commit__is_found_where_there_was_no_new_connection_at_first(
    transactional_db, make_work, lose_commits, monkeypatch
):
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


def test_lost_commit__that_lands_after_it_was_looked_for_collides_and_is_found(
    transactional_db, make_work, lose_commits
):
    work, answers = make_work(), [None]
    lose_commits(1)

    found = retry.unit_of_work(find=lambda: answers.pop() if answers else stored())(work)()

    assert work.calls == 2
    assert list(ApiKey.objects.all()) == [found]


def test_undone_commit__is_repeated(other, make_work):
    """The server ends the connection in COMMIT itself: the code is the same as that of a lost one."""
    other.execute("""
        CREATE TABLE commit_victims (name text);
        CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON commit_victims DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION end_connection();
    """)

    def fall_at_commit():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO commit_victims VALUES ('Ann')")

    work = make_work(fall_at_commit)

    try:
        made = retry.unit_of_work(find=stored)(work)()
    finally:
        other.execute("DROP TABLE commit_victims; DROP FUNCTION end_connection")

    assert work.calls == 2
    assert list(ApiKey.objects.all()) == [made]


def test_idempotent__is_repeated_on_a_new_connection(other):
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
    tries = [errors.LockNotAvailable()]

    @retry.idempotent
    def work() -> str:
        connection.ensure_connection()
        if tries:
            raise tries.pop()
        return "done"

    assert work() == "done"
    assert held == [None]


@pytest.fixture
def unreachable(settings, monkeypatch):
    """No server where this process looks for it, until `unreachable()` says where it is."""
    params = connection.get_connection_params()
    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", lambda _: {**params, "host": "/nowhere"})
    settings.DB_STARTUP_TIMEOUT = 5
    monkeypatch.setattr(retry, "STARTUP_PAUSE", 0.01)
    return lambda: monkeypatch.setattr(DatabaseWrapper, "get_connection_params", lambda _: params)


def test_wait__goes_on_at_once_where_there_is_a_database(db, caplog):
    assert retry.wait_for_database()
    assert caplog.messages == []


def test_wait__states_once_that_it_waits(unreachable, caplog):
    threading.Timer(0.2, unreachable).start()

    assert retry.wait_for_database()

    (message,) = caplog.messages
    assert message.startswith("Waiting up to 5 s for the database: connection")
    assert "\n" not in message


def test_wait__ends(unreachable, settings):
    settings.DB_STARTUP_TIMEOUT = 0.1

    assert not retry.wait_for_database()
