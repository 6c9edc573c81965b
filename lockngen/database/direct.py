"""Connections that bypass the pool and PgBouncer, for session features: the migration lock and LISTEN."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def directly(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Connect one of Django's connections directly to the server during the context."""
    pooled = connection.settings_dict
    connection.close()
    connection.settings_dict = direct(pooled)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = pooled


def direct(pooled: dict[str, Any]) -> dict[str, Any]:
    """The settings of DATABASE_DIRECT_URL or, if it is not set, those of the pool's connections."""
    found = {**pooled, **settings.DATABASE_DIRECT}
    return {**found, "OPTIONS": {**found["OPTIONS"], "pool": None}}


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is a pooler such as PgBouncer in between: its backend PID isn't that of the server's session."""
    return connection.query("SELECT pg_backend_pid()") != [(connection.connection.info.backend_pid,)]


def direct_params(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """psycopg's parameters for a direct connection, with its own cursors, not Django's."""
    params = type(connection)(direct(connection.settings_dict)).get_connection_params()
    return {name: value for name, value in params.items() if name not in ("cursor_factory", "context")}
