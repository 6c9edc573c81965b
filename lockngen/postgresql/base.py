"""Django's PostgreSQL backend, whose pool hands out no connection that the server has ended.

psycopg's pool can ask the server at each checkout, but that costs a round trip, and after a restart it walks through
the dead connections with a growing pause. What the server said last, however, already lies in the connection's socket.
"""

import select

import psycopg
from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params):
        connection = super().get_new_connection(conn_params)
        while self.pool and is_ended(connection):
            self.pool.putconn(connection)  # which makes a new one in its place
            connection = super().get_new_connection(conn_params)
        return connection

    def prepared_cursor(self):
        """A cursor whose statements the server plans once for each connection, if prepare_threshold allows that.

        Django's own cursors put the parameters into the text, so that every statement is a new one to the server.
        """
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._prepare_cursor(base.ServerBindingCursor(self.connection))


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
