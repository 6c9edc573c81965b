"""Django's PostgreSQL backend, whose pool hands out no connection that the server has ended.

psycopg's pool can ask the server at each checkout, but that costs a round trip, and after a restart it walks through
the dead connections with a growing pause. What the server said last, however, already lies in the connection's socket.
"""

import select

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool.base import AttemptWithBackoff

# Between its tries to connect a pool pauses 1, 2, 4 … seconds, in which those wait who could be served again.
AttemptWithBackoff.INITIAL_DELAY = 0.25
AttemptWithBackoff.DELAY_BACKOFF = 1.25


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params):
        connection = super().get_new_connection(conn_params)
        while self.pool and is_ended(connection):
            self.pool.putconn(connection)  # which makes a new one in its place
            connection = super().get_new_connection(conn_params)
        return connection


def is_ended(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Whether the server has ended an idle connection, without asking it. A peer that vanished is not noticed."""
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
