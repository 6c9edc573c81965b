"""How a worker of the queue is connected: it outlives a restart or an outage of its database, and forgets no job.

LISTEN alone goes past PgBouncer, one connection a worker; its statements take the way of all others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from procrastinate import App, sql
from procrastinate.connector import Notify
from procrastinate.contrib.django import connector_params
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg_pool import AsyncConnectionPool
from tenacity import RetryCallState, retry_if_exception

from lockngen import retry_policies
from lockngen.database import retry
from lockngen.database.base import AsyncConnection, is_ended
from lockngen.database.direct import direct_params
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

FETCH_JOB = sql.queries["fetch_job"]
FINISH_JOB = (sql.queries["finish_job"], sql.queries["retry_job"])
# Not if the job was requeued while this worker was frozen and another worker has fetched it.
IF_OWNED = """
    WITH ours AS (SELECT FROM procrastinate_jobs
                  WHERE id = %(job_id)s AND (worker_id = %(worker_id)s OR worker_id IS NULL) FOR UPDATE)
    {} FROM ours
"""
HEARTBEAT = sql.queries["update_heartbeat"]
# A starting worker deletes workers without a recent heartbeat. One of them may be frozen and resume later.
UPSERT_HEARTBEAT = """
    INSERT INTO procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%(worker_id)s)
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
"""
# What a worker that stops says at last. Without it the end of its heartbeat says the same a little later.
UNREGISTER = sql.queries["unregister_worker"]
LOST_FETCH = """
    SELECT * FROM procrastinate_jobs WHERE worker_id = %(worker_id)s AND status = 'doing' AND id <> ALL(%(running)s)
    ORDER BY id LIMIT 1
"""
NO_JOB = {"id": None}
WAKE_UP = '{"type": "job_inserted", "job_id": 0}'


def use_connector(app: App) -> None:
    app.connector = app.job_manager.connector = QueueConnector()


class QueueConnector(DjangoConnector):
    def get_worker_connector(self) -> PsycopgConnector:
        options = self.connection.settings_dict["OPTIONS"]["pool"]
        as_django_s = {name: options[name] for name in ("min_size", "max_size", "timeout", "reconnect_timeout")}
        connector = WorkerConnector(kwargs=connector_params(self.alias), pool_factory=make_pool, **as_django_s)
        connector.listen_params = direct_params(self.connection)
        return connector


class WorkerConnector(PsycopgConnector):
    """Says again what the database failed to hear, DB_WORKER_RETRY_TIMEOUT long; procrastinate's own gives up at once.

    A worker may say all of it twice but that it takes a job: that may have been heard, and only its answer got lost.
    """

    listen_params: dict[str, Any]

    def __init__(self, **options):
        super().__init__(**options)
        self._running: list[int] = []
        self._received = 0  # notifications
        self._worker_id: int | None = None

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        if query in FINISH_JOB:
            await self._finish_job(query, **arguments)
        elif query == HEARTBEAT:
            await retry_transient(super().execute_query_async, UPSERT_HEARTBEAT, **arguments)
        elif query == UNREGISTER:
            await super().execute_query_async(query, **arguments)
        else:
            await retry_transient(super().execute_query_async, query, **arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        if query == FETCH_JOB:
            return await self._fetch_job(query, **arguments)
        return await retry_transient(super().execute_query_one_async, query, **arguments)

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        return await retry_transient(super().execute_query_all_async, query, **arguments)

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        while True:
            try:
                await super().listen_notify(on_notification, channels)
            except ConnectorException as error:
                if not retry.is_transient(error):
                    raise
            await asyncio.sleep(retry_policies.QUEUE_LISTENER.pause(1))

    @asynccontextmanager
    async def _get_standalone_connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with await psycopg.AsyncConnection.connect(**self.listen_params, autocommit=True) as connection:
            yield connection

    async def _loop_notify(self, on_notification: Notify, connection: psycopg.AsyncConnection, **options) -> None:
        async def receive(**notification: Any) -> None:
            self._received += 1
            await on_notification(**notification)

        await receive(channel="", payload=WAKE_UP)  # for notifications that were sent while the connection was lost
        await super()._loop_notify(receive, connection, **options)

    async def _fetch_job(self, query: str, **arguments: Any) -> dict[str, Any]:
        """Fetch a job, or return None for now: the worker polls again soon and can be stopped meanwhile."""
        self._worker_id = arguments["worker_id"]
        try:
            row = await self._poll_job(query, **arguments)
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):  # the worker's row was deleted
                await self.execute_query_async(HEARTBEAT, worker_id=self._worker_id)
            elif not retry.is_transient(error):
                raise
            logger.warning("No job can be taken at the moment: %s", one_line(error.__cause__))
            return NO_JOB
        if row["id"] is not None:
            self._running.append(row["id"])
        return row

    async def _poll_job(self, query: str, **arguments: Any) -> dict[str, Any]:
        row, received = NO_JOB, None
        # The worker forgets what it is told while it looks, and would look again when it polls.
        while row["id"] is None and received != self._received:
            received = self._received
            row = await super().execute_query_one_async(query, **arguments)
            if row["id"] is None:
                row = await self._recover_job(arguments["worker_id"])
        return row

    async def _recover_job(self, worker_id: int) -> dict[str, Any]:
        """A job that this worker fetched although the result was lost."""
        rows = await super().execute_query_all_async(LOST_FETCH, worker_id=worker_id, running=self._running)
        return rows[0] if rows else NO_JOB

    async def _finish_job(self, query: str, **arguments: Any) -> None:
        id = arguments["job_id"]
        if id in self._running:
            query = IF_OWNED.format(query.rstrip(";"))
            arguments["worker_id"] = self._worker_id
        try:
            await retry_transient(super().execute_query_async, query, **arguments)
        except ConnectorException as error:
            if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise
            logger.info("Job %s had ended before.", id)  # by an attempt whose result was lost, or by another worker
        finally:
            if id in self._running:
                self._running.remove(id)


class Pool(AsyncConnectionPool):
    """Hands out no connection that the server has closed; the check sends no query."""

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection:
        connection = await super().getconn(timeout)
        while is_ended(connection):
            await self.putconn(connection)  # the pool replaces it
            connection = await super().getconn(timeout)
        return connection


def make_pool(**options) -> Pool:
    return Pool(**{**options, "check": None, "connection_class": AsyncConnection})


async def retry_transient(call: Callable[..., Awaitable[Any]], *args, **arguments) -> Any:
    """Retry the call after transient errors."""
    retrying = retry_policies.QUEUE_STATEMENT.retrying_async(
        retry_if_exception(retry.is_transient), before_sleep=_log_first_failure
    )
    return await retrying(call, *args, **arguments)


def _log_first_failure(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        reason = one_line(state.outcome.exception().__cause__)
        logger.warning("Transient database error in the worker, retrying: %s", reason)
