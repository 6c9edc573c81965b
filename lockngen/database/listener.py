"""LISTEN for the life of the process: one direct connection, which is reopened after each loss."""

import logging
import threading
from collections.abc import Callable

import psycopg
from django.db import connections
from psycopg import sql

from lockngen.database.direct import direct_params
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between two tries to connect
TICK = 0.5  # seconds between two looks at whether to stop


class Listener:
    """Passes on the notifications of a channel, in its own thread.

    `on_gap` is called each time it begins to listen: what was said before that was missed.
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
        pause = FIRST_PAUSE
        while not self._stops.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                pause = self._pause_after(error, pause)
            finally:
                self.is_listening = False

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

    def _pause_after(self, error: psycopg.Error, pause: float) -> float:
        """Wait for the next attempt; return the pause after that one. An outage is logged once."""
        if self.is_listening:
            logger.info("Not listening to %s for now: %s", self.channel, one_line(error))
            pause = FIRST_PAUSE
        self._stops.wait(pause)
        return min(LONGEST_PAUSE, 2 * pause)
