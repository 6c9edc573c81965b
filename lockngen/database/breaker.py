"""A circuit breaker for requests (Nygard, Release It!): while the database is unavailable, they get 503 at once.

Without it every request occupies a thread for DB_RETRY_TIMEOUT, while others wait for one.
"""

import logging
import threading
import time
from collections.abc import Callable

import psycopg
from django.db import connection

from lockngen import retry_policies
from lockngen.database import outage_flag
from lockngen.database.base import IS_READ_ONLY
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

PROBE_TIMEOUT = 2  # seconds, for connecting and for the statement


class Breaker:
    """Opens when a request has failed after its retries. Closes when a probe succeeds: at once after a false alarm."""

    def __init__(self, probe: Callable[[], None]):
        self._is_open = False
        self._probe = probe
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        if not self._is_open and outage_flag.is_set():
            self.report()  # another process has detected it
        return self._is_open

    def report(self) -> None:
        """Open the breaker after a request failed, and probe the database until a probe succeeds."""
        with self._lock:
            if self._is_open:
                return
            self._is_open = True
        threading.Thread(target=self._run, name="breaker", daemon=True).start()

    def _run(self) -> None:
        failures = 0
        while error := self._failure():
            failures += 1
            outage_flag.set_to(True)
            if failures == 1:
                logger.warning("Requests get 503 until the database is available: %s", one_line(error))
            time.sleep(retry_policies.DATABASE_PROBE.pause(failures))
        if failures:
            logger.info("The database is available again.")
        outage_flag.set_to(False)
        self._is_open = False

    def _failure(self) -> Exception | None:
        try:
            self._probe()
        except Exception as error:
            return error
        return None


class ProbeConnection(psycopg.Connection):
    """A connection that fails after PROBE_TIMEOUT if a frozen server doesn't respond."""

    def wait(self, *args, **options):
        return super().wait(*args, **{**options, "timeout": PROBE_TIMEOUT})


def probe() -> None:
    """Connect and run a statement, as PgBouncer accepts connections without a server. Raises if that fails."""
    parameters = connection.get_connection_params() | {"connect_timeout": PROBE_TIMEOUT}
    with ProbeConnection.connect(**parameters) as session:
        if session.execute(f"SELECT {IS_READ_ONLY}").fetchone()[0]:
            raise psycopg.OperationalError("the server is read-only")


breaker = Breaker(probe)
