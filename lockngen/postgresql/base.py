"""Django's PostgreSQL backend, with a pool that notices what psycopg's leaves to luck.

It hands out no connection that the server has ended, gives up on a server that doesn't answer at all, and is never
shared with a forked process.
"""

import os
import select
import time

import psycopg
from django.conf import settings
from django.db import connections
from django.db.backends.postgresql import base, schema

# The server ends what runs longer than DB_STATEMENT_TIMEOUT. Where it doesn't even do that it is frozen, or gone
# without a word.
SECONDS_OF_GRACE = 5


class Connection(psycopg.Connection):
    """A connection of the pool."""

    is_patient = False  # waits for an answer as long as it takes, as a migration does
    connect_ms: float | None = None  # how long the last of this process took to be made, in milliseconds

    @classmethod
    def connect(cls, conninfo: str = "", **params):
        started = time.perf_counter()
        connection = super().connect(conninfo, **params)
        cls.connect_ms = round((time.perf_counter() - started) * 1000, 2)
        return connection

    def wait(self, *args, **options):
        if settings.DB_STATEMENT_TIMEOUT and not self.is_patient:
            options.setdefault("timeout", settings.DB_STATEMENT_TIMEOUT + SECONDS_OF_GRACE)
        try:
            return super().wait(*args, **options)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # close() would first tell the server
            raise psycopg.OperationalError("the server does not answer") from None


class SchemaEditor(schema.DatabaseSchemaEditor):
    # So that a migration can be run again that was killed when its index was there and that was not noted yet.
    sql_create_index_concurrently = schema.DatabaseSchemaEditor.sql_create_index_concurrently.replace(
        "CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"
    )


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = SchemaEditor

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

    def be_patient(self) -> None:
        """Lift the server's limit and ours on how long a statement may take, while this connection is held."""
        with self.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        self.connection.is_patient = True

    def be_impatient(self) -> None:
        with self.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
        self.connection.is_patient = False


def is_ended(connection: psycopg.Connection) -> bool:
    """Whether the server has ended an idle connection, without asking it. A peer that vanished is not noticed."""
    try:
        # An idle server sends nothing but its last words; TLS and NOTIFY may leave other things to read.
        while _has_input(connection):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        connection.close()
    return connection.closed


def _has_input(connection: psycopg.Connection) -> bool:
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


_inherited = []


def _forget_connections() -> None:
    """In a forked child: its parent's connections stay its parent's. Kept, as to collect them would close them."""
    _inherited.extend([dict(DatabaseWrapper._connection_pools), *connections.all(initialized_only=True)])
    DatabaseWrapper._connection_pools.clear()
    for wrapper in connections.all(initialized_only=True):
        del connections[wrapper.alias]


os.register_at_fork(after_in_child=_forget_connections)
