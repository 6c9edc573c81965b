"""A worker's connection to the queue, with sessions that the server terminates."""

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
from lockngen.queue import FETCH_JOB, FINISH_JOB, HEARTBEAT, REGISTER, RETRY_JOB, UNREGISTER, retry_transient

pytestmark = pytest.mark.django_db(transaction=True)

FINISH = {"query": FINISH_JOB, "status": "succeeded", "delete_job": False}
RETRY = {"query": RETRY_JOB} | dict.fromkeys(["retry_at", "new_priority", "new_queue_name", "new_lock"])


@pytest.fixture(autouse=True)
def empty_queue(other):
    connection.close()  # so that the pool checks it when it hands it out again
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
    """Let the first calls of procrastinate's own method fail."""
    method, remaining = getattr(PsycopgConnector, name), [lost() for _ in range(times)]

    async def replaced(self, *args, **arguments):
        if remaining:
            raise remaining.pop()
        return await method(self, *args, **arguments)

    monkeypatch.setattr(PsycopgConnector, name, replaced)
    monkeypatch.setattr(retry_policies, "QUEUE_STATEMENT", replace(retry_policies.QUEUE_STATEMENT, first_pause=0))


def run(scenario) -> object:
    async def connect_and_run():
        async with asyncio.timeout(30), connected() as connector:
            return await scenario(connector)

    return asyncio.run(connect_and_run())


def test_pool__hands_out_no_terminated_session(other):
    async def use_all_then_one(connector):
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(connector.pool.connection())
        end_sessions(other)
        async with asyncio.timeout(0.9), connector.pool.connection() as one:  # a check by psycopg's pool pauses 1 s
            await one.execute("SELECT 1")

    run(use_all_then_one)


def test_fetch__returns_a_job_whose_earlier_result_was_lost(other, job, worker):
    async def fetch_three_times(connector):
        await PsycopgConnector.execute_query_one_async(connector, FETCH_JOB, queues=None, worker_id=worker)
        found = await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        return found["id"], await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)

    assert run(fetch_three_times) == (job, queue.NO_JOB)


def test_fetch__returns_no_job_after_a_transient_error(monkeypatch, job, worker, caplog):
    fail_first(monkeypatch, "execute_query_one_async")

    async def fetch_twice(connector):
        return [(await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker))["id"] for _ in "ab"]

    assert run(fetch_twice) == [None, job]
    assert "No job can be fetched at the moment: server closed" in caplog.text


def test_fetch__returns_a_job_that_is_inserted_meanwhile(monkeypatch, other, worker):
    """Otherwise the worker would fetch it when it polls, five seconds later."""
    fetch = PsycopgConnector.execute_query_one_async

    async def insert_job_after_fetch(connector, *args, **arguments):
        row, before = await fetch(connector, *args, **arguments), connector._received
        if row["id"] is None:
            other.execute("INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('a', 'b', '{}')")
            while connector._received == before:
                await asyncio.sleep(0.01)
        return row

    async def ignore(**notification) -> None: ...

    async def listen_and_fetch(connector):
        listening = asyncio.create_task(connector.listen_notify(ignore, ["procrastinate_any_queue_v1"]))
        while not connector._received:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(PsycopgConnector, "execute_query_one_async", insert_job_after_fetch)
        row = await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        listening.cancel()
        return row["task_name"]

    assert run(listen_and_fetch) == "b"


@pytest.mark.parametrize("lost_results", [0, 1, 2])
def test_finish__takes_effect_once_if_it_is_sent_again(monkeypatch, other, job, worker, lost_results):
    fail_first(monkeypatch, "execute_query_async", times=lost_results)

    async def fetch_and_finish_twice(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        for _ in range(2):
            await connector.execute_query_async(**FINISH, job_id=job)
        return connector._running

    assert run(fetch_and_finish_twice) == []
    assert other.execute("SELECT status, attempts FROM procrastinate_jobs").fetchall() == [("succeeded", 1)]


@pytest.mark.parametrize("end", [FINISH, RETRY], ids=["finish", "retry"])
def test_finish__does_not_change_a_job_of_another_worker(other, job, worker, end):
    (successor,) = other.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id").fetchone()

    async def finish_after_takeover(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        other.execute("UPDATE procrastinate_jobs SET worker_id = %s", [successor])
        await connector.execute_query_async(**end, job_id=job)
        return connector._running

    assert run(finish_after_takeover) == []
    assert other.execute("SELECT status, worker_id FROM procrastinate_jobs").fetchall() == [("doing", successor)]


@pytest.mark.parametrize(("end", "status"), [(FINISH, "succeeded"), (RETRY, "todo")], ids=["finish", "retry"])
def test_deleted_worker__finishes_its_job_and_fetches_the_next(other, job, worker, end, status):
    async def finish_and_fetch(connector):
        await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker)
        other.execute("DELETE FROM procrastinate_workers")
        await connector.execute_query_async(**end, job_id=job)
        (ended,) = other.execute("SELECT status FROM procrastinate_jobs").fetchone()
        other.execute("UPDATE procrastinate_jobs SET status = 'todo'")
        return ended, [
            (await connector.execute_query_one_async(FETCH_JOB, queues=None, worker_id=worker))["id"] for _ in "ab"
        ]

    assert run(finish_and_fetch) == (status, [None, job])


def test_heartbeat__registers_a_deleted_worker_again(other, worker):
    other.execute("DELETE FROM procrastinate_workers")

    run(lambda connector: connector.execute_query_async(HEARTBEAT, worker_id=worker))

    assert other.execute("SELECT id FROM procrastinate_workers").fetchall() == [(worker,)]


def test_heartbeat__is_set_to_now(other, worker):
    other.execute("UPDATE procrastinate_workers SET last_heartbeat = '2026-01-01'")

    run(lambda connector: connector.execute_query_async(HEARTBEAT, worker_id=worker))

    assert other.execute("SELECT last_heartbeat > '2026-01-02' FROM procrastinate_workers").fetchall() == [(True,)]


def test_unregister__is_not_retried(monkeypatch, worker):
    fail_first(monkeypatch, "execute_query_async")

    with pytest.raises(ConnectorException):
        run(lambda connector: connector.execute_query_async(UNREGISTER, worker_id=worker))


def test_workers_of_one_process__share_a_row_until_the_last_has_stopped(other):
    workers = "SELECT count(*) FROM procrastinate_workers"

    async def register_two_and_unregister(connector):
        first, second = await asyncio.gather(*(connector.execute_query_one_async(REGISTER) for _ in range(2)))
        assert first == second
        counts = [other.execute(workers).fetchone()[0]]
        for _ in range(2):
            await connector.execute_query_async(UNREGISTER, **first)
            counts.append(other.execute(workers).fetchone()[0])
        return counts

    assert run(register_two_and_unregister) == [1, 1, 0]


def test_fetch__does_not_take_the_job_of_another_fetch_for_a_lost_one(monkeypatch, other, worker):
    """The first fetch is committed, and its result is on its way."""
    fetch, is_fetched = PsycopgConnector.execute_query_one_async, asyncio.Event()
    other.execute("INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('render', 'paint', '{}')")

    async def delay_result(connector, *args, **arguments):
        row = await fetch(connector, *args, **arguments)
        if row["id"] is not None:
            is_fetched.set()
            await asyncio.sleep(0.2)
        return row

    monkeypatch.setattr(PsycopgConnector, "execute_query_one_async", delay_result)

    async def fetch_twice(connector):
        renders = asyncio.create_task(connector.execute_query_one_async(FETCH_JOB, queues=["render"], worker_id=worker))
        await is_fetched.wait()
        webhooks = await connector.execute_query_one_async(FETCH_JOB, queues=["webhooks"], worker_id=worker)
        return (await renders)["id"] is not None, webhooks

    assert run(fetch_twice) == (True, queue.NO_JOB)


def test_listener__reconnects_after_its_session_was_terminated(other):
    async def listen(connector):
        received = asyncio.Queue()

        async def put(*, channel: str, payload: str) -> None:
            await received.put(payload)

        listener = asyncio.create_task(connector.listen_notify(put, ["channel"]))
        async with asyncio.timeout(10):
            first = await received.get()
            end_sessions(other)
            second = await received.get()
            other.execute("NOTIFY channel, 'payload'")
            third = await received.get()
        listener.cancel()
        return [first, second, third]

    assert run(listen) == [queue.WAKE_UP, queue.WAKE_UP, "payload"]


def test_retry__ends_after_the_timeout(settings, change_policy):
    change_policy("QUEUE_STATEMENT", first_pause=0.01)
    settings.DB_WORKER_RETRY_TIMEOUT = 0.1
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise lost()

    with pytest.raises(ConnectorException):
        asyncio.run(retry_transient(fail))

    assert len(calls) > 2


def test_retry__excludes_permanent_errors():
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise ConnectorException from psycopg.errors.UndefinedTable()

    with pytest.raises(ConnectorException):
        asyncio.run(retry_transient(fail))

    assert len(calls) == 1
