"""Django's PostgreSQL backend, with a stricter pool than psycopg's.

It hands out no connection that the server has closed, times out if the server doesn't respond, and is never shared with
a forked process.
"""

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from django.conf import settings
from django.db import DatabaseError, connections
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg_pool.base import AttemptWithBackoff

from lockngen.database.schema import DatabaseSchemaEditor
from lockngen.retry_policies import DATABASE_POOL

# By default a pool pauses 1, 2, 4 … seconds between its attempts to connect, while its clients wait.
# Upstream would have to offer: parameters of the pool for the first pause and the factor.
AttemptWithBackoff.INITIAL_DELAY = DATABASE_POOL.first_pause
AttemptWithBackoff.DELAY_BACKOFF = DATABASE_POOL.factor

# The server ends statements that run longer than DB_STATEMENT_TIMEOUT. A server that doesn't do that in time is frozen
# or unreachable.
SECONDS_OF_GRACE = 5

# After a failover sessions may stay read-only, or lead to a server that became a standby. The pool replaces them all.
IS_READ_ONLY = "pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
READ_ONLY = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.FeatureNotSupported,  # a standby's error for UNLOGGED tables, such as the rate limit's
)


class Connection(psycopg.Connection):
    """A connection of the pool.

    Upstream would have to offer: a timeout of a connection's statements on the client's side, and a connection's pool.
    """

    is_long_running = False  # without a timeout, as for migrations
    connect_ms: float | None = None  # duration of this process's latest connect, in milliseconds
    kept_cursor: base.ServerBindingCursor | None = None  # for DatabaseWrapper.prepared_cursor

    @classmethod
    def connect(cls, conninfo: str = "", **params):
        started = time.perf_counter()
        connection = super().connect(conninfo, **params)
        cls.connect_ms = round((time.perf_counter() - started) * 1000, 2)
        return connection

    def wait(self, *args, **options):
        milliseconds = settings.DB_TIMEOUTS.get("statement_timeout")  # missing if DATABASE_URL has its own
        if milliseconds and not self.is_long_running:
            options.setdefault("timeout", milliseconds / 1000 + SECONDS_OF_GRACE)
        try:
            return super().wait(*args, **options)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # close() would send a message to the server first
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
        # psycopg's pool can check connections with a query, but that costs a round trip at each checkout, and a growing
        # pause for each dead connection after a restart.
        while self.pool and is_ended(connection):
            self.pool.putconn(connection)  # the pool replaces it
            connection = super().get_new_connection(conn_params)
        return connection

    def query(self, statement: str, *parameters) -> list[tuple]:
        """The rows of a statement; empty if it returns none."""
        with self.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def without_statement_timeout(self) -> Iterator[None]:
        """Remove the server's and the client's statement timeout. The connection must be held during the context."""
        self.query("SET statement_timeout = 0")
        self.connection.is_long_running = True
        try:
            yield
        finally:
            with suppress(DatabaseError):
                self.query("RESET statement_timeout")
                self.connection.is_long_running = False

    @contextmanager
    def prepared_cursor(self) -> Iterator[CursorWrapper]:
        """A cursor whose statements the server plans once per connection, if prepare_threshold allows that.

        Django's own cursors put the parameters into the text, so that the server has to plan each statement anew. The
        connection keeps the cursor, as a new one looks up how to read each column again, which takes 50 us.
        """
        self.validate_thread_sharing()
        self.ensure_connection()
        connection = self.connection
        cursor, connection.kept_cursor = connection.kept_cursor, None
        if cursor is None:
            with self.wrap_database_errors:
                cursor = base.ServerBindingCursor(connection)
        yield self.make_debug_cursor(cursor) if self.queries_logged else self.make_cursor(cursor)
        connection.kept_cursor = cursor  # not after an error


def is_ended(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Whether the server has closed an idle connection. Sends no query, so it doesn't detect a peer that vanished."""
    try:
        # When it closes an idle connection the server sends an error first. TLS and NOTIFY may leave other input.
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


def _drop_inherited_connections() -> None:
    """In a forked child: drop the parent's connections, but keep references: garbage collection would close them.

    Upstream would have to offer: pools that a forked process doesn't use.
    """
    _inherited.extend([dict(DatabaseWrapper._connection_pools), *connections.all(initialized_only=True)])
    DatabaseWrapper._connection_pools.clear()
    for wrapper in connections.all(initialized_only=True):
        del connections[wrapper.alias]


os.register_at_fork(after_in_child=_drop_inherited_connections)
