"""A worker's connection to the queue, whose sessions the server really ends."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector

from lockngen import queue, retry_policies
from lockngen.queue import FETCH_JOB, FINISH_JOB, HEARTBEAT, RETRY_JOB, UNREGISTER, retry_transient

pytestmark = pytest.mark.django_db(transaction=True)

FINISH = {"query": FINISH_JOB, "status": "succeeded", "delete_job": False}
RETRY = {"query": RETRY_JOB} | dict.fromkeys(["retry_at", "new_priority", "new_queue_name", "new_lock"])


@pytest.fixture(autouse=True)
def empty_queue(other):
    connection.close()  # the pool hands it out again only if it is alive
    yield
    other.execute("TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_events CASCADE")


@pytest.fixture
def job(other) -> int:
    return other.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('render', 'paint', '{}') RETURNING id"
    ).fetchone()[0]


@pytest.fixture
def worker(other) -> int:
    return other.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id").fetchone()[0]


@asynccontextmanager
async def connected():
    connector = app.connector.get_worker_connector()
    await connector.open_async()
    try:
        yield connector
    finally:
        await connector.close_async()


def end_sessions(other: psycopg.Connection) -> None:
    other.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def lost(message: str = "server closed the connection unexpectedly") -> ConnectorException:
    error = ConnectorException()
    error.__cause__ = psycopg.OperationalError(message)
    return error


def fail_first(monkeypatch, name: str, times: int = 1) -> None:
    """Let procrastinate's own method fail at first."""
    method, remaining = getattr(PsycopgConnector, name), [lost() for _ in range(times)]

    async def replaced(self, *args, **arguments):
        if remaining:
            raise remaining.pop()
        return await method(self, *args, **arguments)

    monkeypatch.setattr(PsycopgConnector, name, replaced)
    monkeypatch.setattr(retry_policies, "QUEUE_STATEMENT", replace(retry_policies.QUEUE_STATEMENT, first_pause=0))


def run(scenario) -> object:
    async def connect_and_run():
        async with connected() as connector:
            return await scenario(connector)

    return asyncio.run(connect_and_run())


def test_pool__hands_out_none_of_the_sessions_that_were_ended(other):
    async def use_all_then_one(connector):
        async with AsyncExitStack() as taken:
            for _ in range(4):
                await taken.enter_async_context(connector.pool.connection())
        end_sessions(other)
        async with asyncio.timeout(0.9), connector.pool.connection() as one:  # a check by psycopg's pool pauses 1 s
            await one.execute("SELECT 1")

    run(use_all_then_one)


def test_job__that_was_taken_without_hearing_of_it_is_found(other, job, worker):
    async def take_three_times(connector):
        await PsycopgConnector.execute_query_one_async(connector, FETCH_JOB, queues=None, worker_id=worker)
        found = await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        return found["id"], await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)

    assert run(take_three_times) == (job, queue.NO_JOB)


def test_job__can_not_be_taken_while_the_database_is_away(monkeypatch, job, worker, caplog):
    fail_first(monkeypatch, "execute_query_one_async")

    async def take_twice(connector):
        return [(await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker))["id"] for _ in "ab"]

    assert run(take_twice) == [None, job]
    assert "No job can be fetched at the moment: server closed" in caplog.text


def test_job__that_comes_while_the_worker_looks_for_one_is_found(monkeypatch, other, worker):
    """Without this the worker polls, five seconds later."""
    look = PsycopgConnector.execute_query_one_async

    async def look_slowly(connector, *args, **arguments):
        row, before = await look(connector, *args, **arguments), connector._received
        if row["id"] is None:
            other.execute("INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('a', 'b', '{}')")
            while connector._received == before:
                await asyncio.sleep(0.01)
        return row

    async def ignore(**notification) -> None: ...

    async def listen_and_take(connector):
        listening = asyncio.create_task(connector.listen_notify(ignore, ["procrastinate_any_queue_v1"]))
        while not connector._received:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(PsycopgConnector, "execute_query_one_async", look_slowly)
        row = await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        listening.cancel()
        return row["task_name"]

    assert run(listen_and_take) == "b"


@pytest.mark.parametrize("lost_answers", [0, 1, 2])
def test_job__ends_once_however_often_it_is_sent(monkeypatch, other, job, worker, lost_answers):
    fail_first(monkeypatch, "execute_query_async", times=lost_answers)

    async def take_and_end_twice(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        for _ in range(2):
            await connector.execute_query_async(**FINISH, job_id=job)
        return connector._running

    assert run(take_and_end_twice) == []
    assert other.execute("SELECT status, attempts FROM procrastinate_jobs").fetchall() == [("succeeded", 1)]


@pytest.mark.parametrize("end", [FINISH, RETRY], ids=["finish", "retry"])
def test_job__that_another_worker_has_taken_over_is_left_to_that(other, job, worker, end):
    (successor,) = other.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id").fetchone()

    async def be_overtaken(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        other.execute("UPDATE procrastinate_jobs SET worker_id = %s", [successor])
        await connector.execute_query_async(**end, job_id=job)
        return connector._running

    assert run(be_overtaken) == []
    assert other.execute("SELECT status, worker_id FROM procrastinate_jobs").fetchall() == [("doing", successor)]


@pytest.mark.parametrize(("end", "status"), [(FINISH, "succeeded"), (RETRY, "todo")], ids=["finish", "retry"])
def test_worker__that_was_forgotten_ends_its_job_and_takes_the_next(other, job, worker, end, status):
    async def be_forgotten(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        other.execute("DELETE FROM procrastinate_workers")
        await connector.execute_query_async(**end, job_id=job)
        (ended,) = other.execute("SELECT status FROM procrastinate_jobs").fetchone()
        other.execute("UPDATE procrastinate_jobs SET status = 'todo'")
        return ended, [
            (await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker))["id"] for _ in "ab"
        ]

    assert run(be_forgotten) == (status, [None, job])


def test_heartbeat__of_a_worker_that_was_forgotten_makes_it_known_again(other, worker):
    other.execute("DELETE FROM procrastinate_workers")

    run(lambda connector: connector.execute_query_async(HEARTBEAT, worker_id=worker))

    assert other.execute("SELECT id FROM procrastinate_workers").fetchall() == [(worker,)]


def test_heartbeat__is_that_of_now(other, worker):
    other.execute("UPDATE procrastinate_workers SET last_heartbeat = '2026-01-01'")

    run(lambda connector: connector.execute_query_async(HEARTBEAT, worker_id=worker))

    assert other.execute("SELECT last_heartbeat > '2026-01-02' FROM procrastinate_workers").fetchall() == [(True,)]


def test_goodbye__is_sent_once(monkeypatch, worker):
    fail_first(monkeypatch, "execute_query_async")

    with pytest.raises(ConnectorException):
        run(lambda connector: connector.execute_query_async(UNREGISTER, worker_id=worker))


def test_listener__receives_again_after_its_session_was_ended(other):
    async def listen(connector):
        received = asyncio.Queue()

        async def note(*, channel: str, payload: str) -> None:
            await received.put(payload)

        listener = asyncio.create_task(connector.listen_notify(note, ["news"]))
        async with asyncio.timeout(10):
            first = await received.get()
            end_sessions(other)
            second = await received.get()
            other.execute("NOTIFY news, 'fine'")
            third = await received.get()
        listener.cancel()
        return [first, second, third]

    assert run(listen) == [queue.WAKE_UP, queue.WAKE_UP, "fine"]


def test_patience__ends(settings, change_policy):
    change_policy("QUEUE_STATEMENT", first_pause=0.01)
    settings.DB_WORKER_RETRY_TIMEOUT = 0.1
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise lost()

    with pytest.raises(ConnectorException):
        asyncio.run(retry_transient(fail))

    assert len(calls) > 2


def test_patience__is_not_for_mistakes():
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise ConnectorException from psycopg.errors.UndefinedTable()

    with pytest.raises(ConnectorException):
        asyncio.run(retry_transient(fail))

    assert len(calls) == 1
