"""A worker's connection to the queue. It survives restarts and outages of the database without losing a job.

Each worker has one connection that bypasses PgBouncer, for LISTEN. Its statements use a pool, as Django's do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psycopg
from procrastinate import App
from procrastinate.connector import LISTEN_TIMEOUT, Notify
from procrastinate.contrib.django import connector_params
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector
from procrastinate.sql import queries
from psycopg import sql
from psycopg_pool import AsyncConnectionPool
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from lockngen import retry_policies
from lockngen.database import retry
from lockngen.database.base import AsyncConnection, is_ended
from lockngen.database.direct import direct_params
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

# procrastinate's statements, recognised by their text: its connector has no method for each of them.
FETCH_JOB = queries["fetch_job"]
FINISH_JOB = queries["finish_job"]
RETRY_JOB = queries["retry_job"]
REGISTER = queries["register_worker"]
HEARTBEAT = queries["update_heartbeat"]
UNREGISTER = queries["unregister_worker"]

# Has no effect if the job was requeued while this worker was frozen, and another worker has fetched it.
IF_OWNED = """
    WITH ours AS (SELECT FROM procrastinate_jobs
                  WHERE id = %(job_id)s AND (worker_id = %(worker_id)s OR worker_id IS NULL) FOR UPDATE)
    {} FROM ours
"""
# A starting worker deletes workers without a recent heartbeat. One of them may be frozen and resume later.
UPSERT_HEARTBEAT = """
    INSERT INTO procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%(worker_id)s)
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
"""
# A job that was assigned to this worker in a result that was lost.
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
        pool_options = {name: options[name] for name in ("min_size", "max_size", "timeout", "reconnect_timeout")}
        connector = WorkerConnector(kwargs=connector_params(self.alias), pool_factory=make_pool, **pool_options)
        connector.listen_params = direct_params(self.connection)
        return connector


class WorkerConnector(PsycopgConnector):
    """Retries statements after transient errors for DB_WORKER_RETRY_TIMEOUT. procrastinate's own connector doesn't.

    Several of procrastinate's workers may share it. They have one row in the table of workers, that of their process.

    The fetch of a job isn't retried, as it may have been committed although its result was lost. All others can be.
    """

    listen_params: dict[str, Any]

    def __init__(self, **options):
        super().__init__(**options)
        self._running: list[int] = []  # ids of jobs
        self._received = 0  # number of notifications
        self._worker_id: int | None = None
        self._registered = 0  # number of workers that share the row
        # Two fetches at once could take each other's jobs for lost ones.
        self._lock = asyncio.Lock()

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        if query in (FINISH_JOB, RETRY_JOB):
            await self._finish_job(query, **arguments)
        elif query == HEARTBEAT:
            await retry_transient(super().execute_query_async, UPSERT_HEARTBEAT, **arguments)
        elif query == UNREGISTER:  # sent by a stopping worker; if it fails, the worker's heartbeat expires instead
            self._registered -= 1
            if self._registered < 1:
                await super().execute_query_async(query, **arguments)
        else:
            await retry_transient(super().execute_query_async, query, **arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        if query == FETCH_JOB:
            async with self._lock:
                return await self._fetch_job(query, **arguments)
        if query == REGISTER:
            async with self._lock:
                return await self._register(query)
        return await retry_transient(super().execute_query_one_async, query, **arguments)

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        return await retry_transient(super().execute_query_all_async, query, **arguments)

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        while True:
            try:
                await self._listen(on_notification, channels)
            except psycopg.Error as error:
                if not retry.is_transient(error):
                    raise
            await asyncio.sleep(retry_policies.QUEUE_LISTENER.pause(1))

    async def _listen(self, on_notification: Notify, channels: Iterable[str]) -> None:
        async def receive(channel: str, payload: str) -> None:
            self._received += 1
            await on_notification(channel=channel, payload=payload)

        async with await psycopg.AsyncConnection.connect(**self.listen_params, autocommit=True) as connection:
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            await receive("", WAKE_UP)  # for notifications that were sent while there was no connection
            while True:
                async for notify in connection.notifies(timeout=LISTEN_TIMEOUT):
                    await receive(notify.channel, notify.payload)
                await connection.execute("SELECT 1")  # detects a lost connection

    async def _register(self, query: str) -> dict[str, Any]:
        if not self._registered:
            row = await retry_transient(super().execute_query_one_async, query)
            self._worker_id = row["worker_id"]
        self._registered += 1
        return {"worker_id": self._worker_id}

    async def _fetch_job(self, query: str, **arguments: Any) -> dict[str, Any]:
        """Fetch a job once. After a transient error it returns NO_JOB: the worker polls again, and can be stopped."""
        self._worker_id = arguments["worker_id"]
        try:
            row = await self._poll_job(query, **arguments)
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):  # the worker's row was deleted
                await self.execute_query_async(HEARTBEAT, worker_id=self._worker_id)
            elif not retry.is_transient(error):
                raise
            logger.warning("No job can be fetched at the moment: %s", one_line(error.__cause__))
            return NO_JOB
        if row["id"] is not None:
            self._running.append(row["id"])
        return row

    async def _poll_job(self, query: str, **arguments: Any) -> dict[str, Any]:
        row, received = NO_JOB, None
        # procrastinate discards a notification that arrives during a fetch, and fetches again only when it polls.
        while row["id"] is None and received != self._received:
            received = self._received
            row = await super().execute_query_one_async(query, **arguments)
            if row["id"] is None:
                lost = {"worker_id": arguments["worker_id"], "running": self._running}
                row = next(iter(await super().execute_query_all_async(LOST_FETCH, **lost)), NO_JOB)
        return row

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
            # An earlier statement whose result was lost has finished it, or another worker has.
            logger.info("Job %s was already finished.", id)
        finally:
            if id in self._running:
                self._running.remove(id)


class Pool(AsyncConnectionPool):
    """Replaces connections that the server has closed before it hands them out. The check sends no query."""

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection:
        connection = await super().getconn(timeout)
        while is_ended(connection):
            await self.putconn(connection)  # the pool replaces it
            connection = await super().getconn(timeout)
        return connection


def make_pool(**options) -> Pool:
    return Pool(**{**options, "check": None, "connection_class": AsyncConnection})


async def retry_transient(call: Callable[..., Awaitable[Any]], *args, **arguments) -> Any:
    retrying = retry_policies.QUEUE_STATEMENT.retrying(
        retry_if_exception(retry.is_transient), AsyncRetrying, before_sleep=_log_first_failure
    )
    return await retrying(call, *args, **arguments)


def _log_first_failure(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        reason = one_line(state.outcome.exception().__cause__)
        logger.warning("Transient database error in the worker, retrying: %s", reason)
