"""What a ComfyUI server tells about its prompts while they run, by WebSocket."""

import json
import ssl
import time
from contextlib import ExitStack, suppress
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from generations.renderers.comfyui.address import Address

OPEN_TIMEOUT = 3  # seconds
RECONNECT_AFTER = 1.0  # seconds between two tries to connect
LARGEST_MESSAGE = 16 * 1024 * 1024  # bytes; previews are images
FAILURES = (OSError, EOFError, ValueError, WebSocketException)


class Events:
    """The events of one client's prompts. They may be late, doubled or missing: they are hints.

    It connects again when the connection is lost, and never raises.
    """

    def __init__(self, address: Address, client_id: str, authorization: str, context: ssl.SSLContext):
        self._url = f"{address.websocket}/ws?clientId={client_id}"
        self._options = {
            "additional_headers": {"Authorization": authorization} if authorization else {},
            "ssl": context if address.is_encrypted else None,
            "proxy": None,  # one of the environment is not meant for it
            "open_timeout": OPEN_TIMEOUT,
            "close_timeout": 0.1,  # nothing that it would still tell matters
            "max_size": LARGEST_MESSAGE,
        }
        self._opened = ExitStack()
        self._connection: ClientConnection | None = None
        self._tried_at = float("-inf")

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exception) -> None:
        self._drop()

    def connect(self) -> None:
        """Connect where it isn't yet, so that nothing is missed of what is begun after this."""
        if self.is_connected:
            return
        self._tried_at = time.monotonic()
        with suppress(*FAILURES):
            self._connection = self._opened.enter_context(connect(self._url, **self._options))

    def next(self, seconds: float) -> dict[str, Any]:
        """The next event as `{"type": …, "data": {…}}`, or an empty one after some seconds."""
        give_up_at = time.monotonic() + seconds
        if time.monotonic() - self._tried_at > RECONNECT_AFTER:
            self.connect()
        try:
            if self._connection:
                return _event(self._connection.recv(seconds))
        except TimeoutError:
            pass
        except FAILURES:
            self._drop()
        time.sleep(max(0, give_up_at - time.monotonic()))
        return {}

    def _drop(self) -> None:
        self._connection = None
        with suppress(*FAILURES):
            self._opened.close()


def _event(frame: str | bytes) -> dict[str, Any]:
    if isinstance(frame, bytes):  # a preview
        return {}
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    is_event = isinstance(event, dict) and isinstance(event.get("type"), str) and isinstance(event.get("data"), dict)
    return event if is_event else {}
