"""What the service requires of a database, and the remedies."""

import re

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from lockngen.database.base import IS_READ_ONLY
from lockngen.plain import one_line

STARTUP_OPTIONS = "unsupported startup parameter"  # in PgBouncer's error
REMEDIES = {  # by what a refused connection's error contains; there is no SQLSTATE before a session exists
    STARTUP_OPTIONS: "Behind a pooler set DB_PGBOUNCER=on, and DATABASE_DIRECT_URL to PostgreSQL itself.",
    r'database ".*" does not exist': "Create it: CREATE DATABASE name OWNER role ENCODING 'UTF8' TEMPLATE template0;",
    "permission denied for database": "As its owner, run: GRANT CONNECT ON DATABASE name TO role;",
    "password authentication failed|no password supplied": "Correct the user and password in DATABASE_URL.",
}
FACTS = f"SELECT current_user, current_schema(), {IS_READ_ONLY}, has_schema_privilege(current_schema(), 'CREATE')"


def remedy(error: BaseException) -> str:
    """The remedy for a refused connection, empty if the error is unknown."""
    text = str(error)
    return next((remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, text)), "")


def with_remedy(error: BaseException) -> str:
    """A connection error on one line, with a remedy if one is known."""
    return f"{one_line(error)} {remedy(error)}".strip()


def lacks_migrations(error: BaseException) -> bool:
    """Whether a statement names a table or a column that the database does not have."""
    # undefined_table, undefined_column: https://www.postgresql.org/docs/16/errcodes-appendix.html
    return getattr(error.__cause__, "sqlstate", None) in {"42P01", "42703"}


def refuse_startup_options(error: psycopg.Error) -> None:
    """Raise ImproperlyConfigured if a pooler refuses the options of our connections: waiting would not help."""
    if STARTUP_OPTIONS in str(error):
        raise ImproperlyConfigured(f"The connection is refused ({STARTUP_OPTIONS}). {remedy(error)}") from None


def refuse_encoding(session: psycopg.Connection) -> None:
    """Raise ImproperlyConfigured unless the database can store any text."""
    name, encoding = session.execute("SELECT current_database(), current_setting('server_encoding')").fetchone()
    if encoding != "UTF8":
        raise ImproperlyConfigured(
            f"The encoding of the database {name} is {encoding}, and UTF8 is required: "
            "create another one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
        )


def refuse_migration(connection: BaseDatabaseWrapper) -> None:
    """Raise an error with the remedy if migrations can't be applied to this database."""
    ((role, schema, is_read_only, may_create),) = connection.query(FACTS)
    refuse_encoding(connection.connection)
    if schema is None:
        raise CommandError("No schema of search_path exists or may be used: run CREATE SCHEMA, or correct search_path.")
    if not (may_create or is_read_only) and _has_plan(connection):
        names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
        grant = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};").format(**names)
        raise CommandError(
            f"The role {role} may not create tables in the schema {schema}. As a superuser or the owner of the "
            f"database, run: {grant.as_string(connection.connection)}"
        )
    if is_read_only and _has_plan(connection):
        raise CommandError(
            "The session is read-only: the server is a standby, or default_transaction_read_only is on. "
            "Set DATABASE_URL, or DATABASE_DIRECT_URL if it is set, to a server and role that can write."
        )


def _has_plan(connection: BaseDatabaseWrapper) -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
