"""How a worker of the queue is connected: LISTEN past PgBouncer, and well again soon after a restart beneath."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from procrastinate import App
from procrastinate.contrib.django import connector_params
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from lockngen.postgresql.direct import direct_params


def use_connector(app: App) -> None:
    app.connector = app.job_manager.connector = QueueConnector()


class QueueConnector(DjangoConnector):
    def get_worker_connector(self) -> PsycopgConnector:
        connector = WorkerConnector(kwargs=connector_params(self.alias), pool_factory=make_pool)
        connector.listen_params = direct_params(self.connection)
        return connector


class WorkerConnector(PsycopgConnector):
    """LISTEN alone goes past the bouncer, one connection a worker; its statements take the way of all others."""

    listen_params: dict[str, Any]

    @asynccontextmanager
    async def _get_standalone_connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with await psycopg.AsyncConnection.connect(**self.listen_params, autocommit=True) as connection:
            yield connection


def make_pool(**options) -> AsyncConnectionPool:
    """A pool that drops all it has at the first dead connection: looking at each takes a growing pause between them."""

    async def check(connection: psycopg.AsyncConnection) -> None:
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            await pool.drain()
            raise

    pool = AsyncConnectionPool(**{**options, "check": check})
    return pool
