"""What this project uses of libraries although it is not public: one test a library.

A test fails if a release moves such a part, and if the pinned version differs from the one that was checked.
"""

import asyncio
import inspect
import logging
import re
from datetime import UTC, datetime
from unittest.mock import AsyncMock

import psycopg
import pytest
from django.core.checks.security import base as security
from django.db import connection, connections
from django.http import HttpResponse
from django.test import TransactionTestCase
from django.utils.log import log_response
from gunicorn.glogging import Logger
from ninja import NinjaAPI, Schema
from ninja.operation import Operation
from ninja.testing import TestClient
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from psycopg_pool.base import AttemptWithBackoff
from pydantic import field_validator

from lockngen import queue
from lockngen.environment import BASE_DIR
from lockngen.retry_policies import DATABASE_POOL
from lockngen.web.problems import ProblemAPI

DJANGO = """DatabaseWrapper._connection_pools, HttpResponse._has_been_logged, TransactionTestCase._fixture_teardown,
 and the checks of SECRET_KEY in django/core/checks/security/base.py"""
GUNICORN = "ASGIProtocol and ASGIWorker by lockngen/tests/test_worker.py"
NINJA = "how Operation.run and Operation._get_values read parameters, by problems._with_known_parameters"
PROCRASTINATE = """the statements in sql/queries.sql, the functions they call, procrastinate_defer_jobs_v1,
 and how Worker treats notifications, by lockngen/queue.py"""
PSYCOPG = "Connection.wait, errors._WaitTimeout and Connection._pool by base.py and breaker.py of lockngen/database"
PSYCOPG_POOL = "AttemptWithBackoff in base.py, by lockngen/database/base.py"
COLUMNS_OF_JOB_TO_DEFER = [
    ("queue_name", "character varying"),
    ("task_name", "character varying"),
    ("priority", "integer"),
    ("lock", "text"),
    ("queueing_lock", "text"),
    ("args", "jsonb"),
    ("scheduled_at", "timestamp with time zone"),
]


def check_pin(library: str, *, checked: str, parts: str) -> None:
    pins = "\n".join(path.read_text() for path in BASE_DIR.glob("requirements*.txt"))
    (pinned,) = re.findall(rf"^{library}(?:\[.*\])?==(\S+)", pins, re.MULTILINE)
    assert pinned == checked, f"{library} is {pinned}: check {' '.join(parts.split())}; then state this version here."


def test_django(db, caplog):
    check_pin("django", checked="5.2.19", parts=DJANGO)

    assert type(connections["default"])._connection_pools == {"default": connection.pool}

    response = HttpResponse(status=503)
    response._has_been_logged = True
    log_response("This was logged before", response=response)
    assert caplog.text == ""

    assert "self._fixture_teardown()" in inspect.getsource(TransactionTestCase._post_teardown)
    assert [security._check_secret_key(key) for key in ("0123456789", "0123456789" * 5)] == [False, True]
    assert security.check_secret_key(None) + security.check_secret_key_fallbacks(None) == []


def test_gunicorn():
    check_pin("gunicorn", checked="27.0.1", parts=GUNICORN)

    assert logging.Formatter(Logger.error_fmt)._fmt == Logger.error_fmt  # read by apikeys/logs.py


def test_ninja():
    check_pin("django-ninja", checked="1.7.1", parts=NINJA)
    done = []

    class Body(Schema):
        name: str

        @field_validator("name")
        @classmethod
        def record(cls, name: str) -> str:
            done.append("body")
            return name

    api = ProblemAPI(urls_namespace="contract", auth=lambda request: done.append("authentication") or True)

    @api.post("/things")
    def create(request, body: Body, size: int = 1) -> dict:
        done.append(f"size {size}")
        return {}

    client = TestClient(api)
    valid, invalid = (client.post(f"/things?{query}", json={"name": "a"}) for query in ("size=2", "size=2&color=red"))

    assert (valid.status_code, invalid.status_code) == (200, 422)
    assert invalid.json()["errors"][0]["field"] == "color"
    assert done == ["authentication", "body", "size 2", "authentication"]
    assert "self._get_values(request, kw, temporal_response)" in inspect.getsource(Operation.run)
    assert list(inspect.signature(Operation._get_values).parameters)[:2] == ["self", "request"]
    assert hasattr(NinjaAPI, "add_decorator")


def test_procrastinate(db):
    check_pin("procrastinate", checked="3.10.0", parts=PROCRASTINATE)
    connector, on_notification = AsyncMock(), AsyncMock()
    connector.execute_query_one_async.return_value = queue.NO_JOB
    manager = JobManager(connector)

    async def send_all() -> None:
        await manager.fetch_job(queues=None, worker_id=1)
        await manager.finish_job_by_id_async(2, Status.SUCCEEDED, delete_job=False)
        await manager.retry_job_by_id_async(2, retry_at=datetime.now(UTC))
        await manager.update_heartbeat(1)
        await manager.unregister_worker(1)
        await manager.listen_for_jobs(on_notification=on_notification)
        await connector.listen_notify.call_args.kwargs["on_notification"](channel="", payload=queue.WAKE_UP)

    asyncio.run(send_all())

    fetch = connector.execute_query_one_async.call_args.kwargs
    assert fetch == {"query": queue.FETCH_JOB, "queues": None, "worker_id": 1}
    others = [call.kwargs for call in connector.execute_query_async.call_args_list]
    assert [(sent["query"], sent.get("job_id"), sent.get("worker_id")) for sent in others] == [
        (queue.FINISH_JOB, 2, None),
        (queue.RETRY_JOB, 2, None),
        (queue.HEARTBEAT, None, 1),
        (queue.UNREGISTER, None, 1),
    ]
    # IF_OWNED appends a FROM to them.
    assert all(re.fullmatch(r"SELECT \w+\(.*\);", query) for query in (queue.FINISH_JOB, queue.RETRY_JOB))
    assert on_notification.call_args.kwargs["notification"]["type"] == "job_inserted"

    columns = connection.query(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'procrastinate_job_to_defer_v1'::regclass ORDER BY attnum"
    )
    assert columns == COLUMNS_OF_JOB_TO_DEFER
    functions = connection.query(
        "SELECT pg_get_function_identity_arguments(oid), pg_get_function_result(oid) FROM pg_proc"
        " WHERE proname = 'procrastinate_defer_jobs_v1'"
    )
    assert functions == [("jobs procrastinate_job_to_defer_v1[]", "bigint[]")]


def test_psycopg(db):
    check_pin("psycopg", checked="3.3.9", parts=PSYCOPG)

    for connection_class in (psycopg.Connection, psycopg.AsyncConnection):
        assert inspect.signature(connection_class.wait).parameters.keys() >= {"gen", "timeout"}
    assert issubclass(psycopg.errors._WaitTimeout, psycopg.OperationalError)
    with connection.pool.connection() as pooled:
        assert pooled._pool is connection.pool


def test_psycopg_pool():
    check_pin("psycopg-pool", checked="3.3.3", parts=PSYCOPG_POOL)
    attempt, delays = AttemptWithBackoff(timeout=100), []

    for now in range(2):
        attempt.update_delay(now)
        delays.append(attempt.delay)

    assert delays[0] == pytest.approx(DATABASE_POOL.first_pause, rel=AttemptWithBackoff.DELAY_JITTER)
    assert delays[1] == pytest.approx(delays[0] * DATABASE_POOL.factor)
    assert AttemptWithBackoff.DELAY_JITTER == 0.1  # stated in lockngen/retry_policies.py
