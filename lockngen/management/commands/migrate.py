"""Django's migrate, safe to run from several machines at once.

The lock is taken in the session that migrates. A migrator that is killed leaves its statement running in the server
until that ends, and only then is the session's lock free: no two ever change the schema at the same time.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import not_

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import DatabaseError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import InsufficientPrivilege, LockNotAvailable
from tenacity import RetryCallState, retry_if_result

from lockngen import retry_policies
from lockngen.database import preconditions, timeouts
from lockngen.database.direct import directly, is_pooled
from lockngen.exit_codes import DATABASE
from lockngen.plain import one_line

LOCK = 0x6C6F636B6E67656E  # "lockngen" as a 64-bit number: the key of the advisory lock


class Command(migrate.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait",
            type=float,
            default=retry_policies.MIGRATION_LOCK.timeout,
            metavar="SECONDS",
            help="how long to wait for another migrate on this database (%(default)s)",
        )

    def execute(self, *args, **options) -> str | None:
        # The system checks run first and query the database too.
        with directly(connections[options["database"]]):
            return super().execute(*args, **options)

    def handle(self, *args, wait: float, **options) -> None:
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        connection = connections[options["database"]]
        refuse_pooler(connection)
        # Building an index may take long. A wait for a lock that others queue behind may not: DB_LOCK_TIMEOUT holds.
        with self.locked(connection, wait), connection.without_statement_timeout():
            with refusals_explained():
                preconditions.refuse_migration(connection)
                self.drop_invalid_indexes(connection)
                super().handle(*args, **options)
            self.set_role_timeouts(connection)

    @contextmanager
    def locked(self, connection: BaseDatabaseWrapper, wait: float) -> Iterator[None]:
        def report(state: RetryCallState) -> None:
            if state.attempt_number == 1:
                self.stderr.write(f"Another migrate is running ({lock_owner(connection)}); waiting for it to end.")

        # Polled for: a wait inside the server holds a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots.
        polling = replace(retry_policies.MIGRATION_LOCK, timeout=wait).retrying(
            retry_if_result(not_), before_sleep=report, retry_error_callback=lambda state: False
        )
        if not polling(lambda: connection.query("SELECT pg_try_advisory_lock(%s)", LOCK)[0][0]):
            raise CommandError(f"The other migrate ({lock_owner(connection)}) has not ended after {wait:g} seconds.")
        try:
            yield
        finally:
            with suppress(DatabaseError):  # a lost connection has lost its lock as well
                connection.query("SELECT pg_advisory_unlock(%s)", LOCK)

    def drop_invalid_indexes(self, connection: BaseDatabaseWrapper) -> None:
        """Drop indexes that a killed CREATE INDEX CONCURRENTLY left. Their migration creates them again."""
        tables = sorted({model._meta.db_table for model in apps.get_models()})
        rows = connection.query(
            """SELECT index.relname FROM pg_index JOIN pg_class index ON index.oid = indexrelid
               JOIN pg_class "table" ON "table".oid = indrelid
               WHERE NOT indisvalid AND "table".relname = ANY(%s) AND pg_table_is_visible(indrelid)""",
            tables,
        )
        for (name,) in rows:
            self.stderr.write(f"Dropping the invalid index {name}, which a killed migration left.")
            with connection.schema_editor(atomic=False) as editor, editor.without_lock_timeout():
                editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {connection.ops.quote_name(name)}")

    def set_role_timeouts(self, connection: BaseDatabaseWrapper) -> None:
        """Behind PgBouncer connections can't set them at their start, so they are settings of the role."""
        statements = timeouts.statements_for_role(connection) if settings.DB_PGBOUNCER else []
        try:
            for statement in statements:
                connection.query(statement)
        except ProgrammingError as error:  # the role that migrates may not change that of web and workers
            self.stderr.write(f"{one_line(error)} A superuser has to run:")
        if statements:
            self.stderr.write("\n".join([*statements, timeouts.RECONNECT]))


def refuse_pooler(connection: BaseDatabaseWrapper) -> None:
    if is_pooled(connection):
        name = "DATABASE_DIRECT_URL" if settings.DATABASE_DIRECT else "DATABASE_URL"
        raise CommandError(
            f"{name} leads to a pooler such as PgBouncer, and migrations need a session of their own: "
            "set DATABASE_DIRECT_URL to the server itself."
        )


@contextmanager
def refusals_explained() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if isinstance(error.__cause__, InsufficientPrivilege):
            remedy = "Run migrate as the role that owns the tables, or have their owner grant the right."
            raise CommandError(f"A migration was refused and undone: {one_line(error)}. {remedy}") from None
        if isinstance(error.__cause__, LockNotAvailable):
            raise CommandError(
                "A migration was undone, as another transaction kept a table locked for longer than DB_LOCK_TIMEOUT "
                f"({settings.DB_LOCK_TIMEOUT:g} s). Run migrate again when it has ended.",
                returncode=DATABASE,
            ) from None
        raise


def lock_owner(connection: BaseDatabaseWrapper) -> str:
    """The holder of the lock, for the waiting user."""
    rows = connection.query(
        """SELECT pid, coalesce(host(client_addr), 'this machine'), to_char(backend_start, 'HH24:MI:SS')
           FROM pg_locks JOIN pg_stat_activity USING (pid)
           WHERE locktype = 'advisory' AND granted AND pg_locks.database = (
               SELECT oid FROM pg_database WHERE datname = current_database()
           ) AND (classid::bigint << 32) + objid::bigint = %s""",
        LOCK,
    )
    return "from {1}, connected at {2}, server process {0}".format(*rows[0]) if rows else "it is just ending"
