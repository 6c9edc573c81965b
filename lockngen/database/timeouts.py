"""The server-side timeouts, and whether they are in force.

A connection sets them with startup options. PgBouncer drops or rejects these, as its server connections are shared;
behind it the timeouts are settings of the role in this database, which apply to each of its sessions.
"""

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

RECONNECT = "The connections that PgBouncer holds are older: run RECONNECT in its console."


def find_mismatch(connection: BaseDatabaseWrapper) -> tuple[str, str] | None:
    """What is wrong with the timeouts in force, and the remedy."""
    # The values that a session starts with: `migrate` changes those of its own session.
    starting = "SELECT name, reset_val::int FROM pg_settings WHERE name = ANY(%s)"
    found = dict(connection.query(starting, [*settings.DB_TIMEOUTS]))
    wrong = [f"{name} is {found[name]} ms, not {ms}" for name, ms in settings.DB_TIMEOUTS.items() if found[name] != ms]
    return ("; ".join(wrong), remedy(connection)) if wrong else None


def remedy(connection: BaseDatabaseWrapper) -> str:
    if not settings.DB_PGBOUNCER:
        return "A proxy drops startup options: if it is PgBouncer, set DB_PGBOUNCER=on."
    ((role,),) = connection.query("SELECT current_user")
    return "Run manage.py migrate." if missing_for_role(connection, role) else RECONNECT


def missing_for_role(connection: BaseDatabaseWrapper, role: str) -> dict[str, int]:
    """The timeouts, in milliseconds, that are not set as configured for the role in this database."""
    rows = connection.query(
        """SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole
           WHERE rolname = %s AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        role,
    )
    known = {setting for (setting,) in rows}
    return {name: ms for name, ms in settings.DB_TIMEOUTS.items() if f"{name}={ms}" not in known}


def statements_for_role(connection: BaseDatabaseWrapper) -> list[str]:
    """The statements that set the timeouts in this database for the role of the web and worker processes."""
    ((current_user, database),) = connection.query("SELECT current_user, current_database()")
    role = settings.DATABASES["default"]["USER"] or current_user
    start = "ALTER ROLE {} IN DATABASE {} SET".format(*map(connection.ops.quote_name, (role, database)))
    return [f"{start} {name} = {ms}" for name, ms in missing_for_role(connection, role).items()]
