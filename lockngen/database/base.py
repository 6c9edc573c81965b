"""Django's PostgreSQL backend, with a stricter pool than psycopg's.

It hands out no connection that the server has closed, times out if the server doesn't respond, and is never shared with
a forked process.
"""

import os
import select
import time

import psycopg
from django.conf import settings
from django.db import connections
from django.db.backends.postgresql import base
from psycopg_pool.base import AttemptWithBackoff

from lockngen.database.schema import DatabaseSchemaEditor
from lockngen.retry_policies import DATABASE_POOL

# By default a pool pauses 1, 2, 4 … seconds between its attempts to connect, while its clients wait.
AttemptWithBackoff.INITIAL_DELAY = DATABASE_POOL.first_pause
AttemptWithBackoff.DELAY_BACKOFF = DATABASE_POOL.factor

# The server ends what runs longer than DB_STATEMENT_TIMEOUT. Where it doesn't even do that it is frozen, or gone
# without a word.
SECONDS_OF_GRACE = 5

# After a failover sessions may stay read-only, or lead to a server that became a standby. The pool replaces them all.
READ_ONLY = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.FeatureNotSupported,  # a standby's error for UNLOGGED tables, such as the rate limit's
)


class Connection(psycopg.Connection):
    """A connection of the pool."""

    is_long_running = False  # waits for an answer as long as it takes, as a migration does
    connect_ms: float | None = None  # how long the last of this process took to be made, in milliseconds

    @classmethod
    def connect(cls, conninfo: str = "", **params):
        started = time.perf_counter()
        connection = super().connect(conninfo, **params)
        cls.connect_ms = round((time.perf_counter() - started) * 1000, 2)
        return connection

    def wait(self, *args, **options):
        milliseconds = settings.DB_TIMEOUTS.get("statement_timeout")  # unless DATABASE_URL gives one of its own
        if milliseconds and not self.is_long_running:
            options.setdefault("timeout", milliseconds / 1000 + SECONDS_OF_GRACE)
        try:
            return super().wait(*args, **options)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # close() would first tell the server
            raise psycopg.OperationalError("the server does not answer") from None
        except READ_ONLY:
            if self._pool:
                self._pool.drain()
            raise


class AsyncConnection(psycopg.AsyncConnection):
    """A connection of a worker's pool."""

    async def wait(self, *args, **options):
        try:
            return await super().wait(*args, **options)
        except READ_ONLY:
            if self._pool:
                await self._pool.drain()
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor

    @property
    def pool(self):
        if options := self.settings_dict["OPTIONS"].get("pool"):
            options.setdefault("connection_class", Connection)
        return super().pool

    def get_new_connection(self, conn_params):
        connection = super().get_new_connection(conn_params)
        # psycopg's pool can ask the server at each checkout, but that costs a round trip, and after a restart it walks
        # through the dead connections with a growing pause.
        while self.pool and is_ended(connection):
            self.pool.putconn(connection)  # which makes a new one in its place
            connection = super().get_new_connection(conn_params)
        return connection

    def lift_statement_timeout(self) -> None:
        """Remove the server's and the client's statement timeout while this connection is held."""
        with self.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        self.connection.is_long_running = True

    def restore_statement_timeout(self) -> None:
        with self.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
        self.connection.is_long_running = False

    def prepared_cursor(self):
        """A cursor whose statements the server plans once for each connection, if prepare_threshold allows that.

        Django's own cursors put the parameters into the text, so that every statement is a new one to the server.
        """
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._prepare_cursor(base.ServerBindingCursor(self.connection))


def is_ended(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Whether the server has ended an idle connection, without a query. A vanished peer is not detected."""
    try:
        # An idle server sends nothing but its last words; TLS and NOTIFY may leave other things to read.
        while _has_input(connection):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        connection.pgconn.finish()
    return connection.closed


def _has_input(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


_inherited = []


def _forget_connections() -> None:
    """In a forked child: keep references to the parent's connections, because garbage collection would close them."""
    _inherited.extend([dict(DatabaseWrapper._connection_pools), *connections.all(initialized_only=True)])
    DatabaseWrapper._connection_pools.clear()
    for wrapper in connections.all(initialized_only=True):
        del connections[wrapper.alias]


os.register_at_fork(after_in_child=_forget_connections)
