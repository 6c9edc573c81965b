#!/usr/bin/env python
"""Django's command line. A development checkout (DEBUG on, no DATABASE_URL) runs it on the embedded PostgreSQL."""

import os
import signal
import sys

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from lockngen import environment, exit_codes


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")
    # By default these signals end Python at once. An exception lets the embedded server stop first.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with environment.development_database() as address:
        from lockngen import settings  # noqa: F401  reports a missing setting in one line, without a traceback

        if address and "migrate" not in sys.argv and is_empty(address):
            execute_from_command_line([sys.argv[0], "migrate", "--verbosity=0"])
        execute_from_command_line(sys.argv)


def is_empty(address: str) -> bool:
    """Whether the database has no tables yet: the first command migrates a new embedded database."""
    with psycopg.connect(address) as connection:
        return connection.execute("SELECT to_regclass('django_migrations') IS NULL").fetchone()[0]


def run() -> int | str:
    """Run the command; return the exit code or the one-line message of a failure that no command has handled."""
    try:
        try:
            main()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except ImproperlyConfigured as error:
        return str(error)
    except BrokenPipeError:
        # Discard the buffered output; otherwise Python reports the broken pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.BROKEN_PIPE
    except Exception as error:
        from lockngen.database import preconditions, retry  # here, as they need settings, which may have failed

        if preconditions.lacks_migrations(error):
            print("The database lacks tables or columns of this release: run manage.py migrate.", file=sys.stderr)
            return exit_codes.DATABASE
        if not isinstance(error, retry.ERRORS) or retry.outage(error) is None:
            raise
        print(f"The database can't be used: {preconditions.with_remedy(error)}", file=sys.stderr)
        return exit_codes.DATABASE
    return 0


if __name__ == "__main__":
    sys.exit(run())
