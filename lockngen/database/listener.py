"""LISTEN for as long as a process runs: one direct connection, which is reopened after each loss."""

import logging
import threading
from collections.abc import Callable

import psycopg
from django.db import connections
from psycopg import sql

from lockngen import retry_policies
from lockngen.database.direct import direct_params
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

TICK = 0.5  # seconds between two checks whether to stop


class Listener:
    """Calls `on_payload` with each notification of a channel, in its own thread.

    `on_gap` is called each time it begins to listen, as earlier notifications were missed.
    """

    def __init__(self, channel: str, on_payload: Callable[[str], None], on_gap: Callable[[], None]):
        self.channel, self.on_payload, self.on_gap = channel, on_payload, on_gap
        self.is_listening = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stops = threading.Event()

    def start(self) -> None:
        """Start listening unless started, without blocking. A forked process starts its own listener."""
        if self._is_alive():
            return
        with self._lock:
            if not self._is_alive():
                self._stops.clear()
                self._thread = threading.Thread(target=self._run, name=self.channel, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stops.set()
        if self._is_alive():
            self._thread.join()

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stops.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                if self.is_listening:  # an outage is logged once
                    logger.info("Not listening to %s for now: %s", self.channel, one_line(error))
                    failures = 0
                failures += 1
            finally:
                self.is_listening = False
            self._stops.wait(retry_policies.DATABASE_LISTENER.pause(failures))

    def _listen(self) -> None:
        params = direct_params(connections["default"])
        params["application_name"] = f"{params.get('application_name', 'lockngen')} {self.channel}"
        with psycopg.connect(**params, autocommit=True) as session:
            session.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
            self.is_listening = True
            self.on_gap()
            while not self._stops.is_set():
                for notify in session.notifies(timeout=TICK):
                    self.on_payload(notify.payload)
