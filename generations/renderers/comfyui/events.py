"""The events of a ComfyUI server about running prompts, by WebSocket."""

import json
import ssl
import struct
import time
from contextlib import ExitStack, suppress
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from generations.renderers.comfyui.address import Address
from lockngen import retry_policies

OPEN_TIMEOUT = 1.0  # seconds; without events, the result is polled for
LARGEST_MESSAGE = 1024 * 1024  # bytes; previews are images of 512 pixels
LARGEST_EVENT = 256 * 1024  # bytes of one that is read
# A server that supports it sends the id of a preview's prompt with it. It reads this only from the first message.
FEATURES = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
PREVIEW, PREVIEW_WITH_METADATA = 1, 4  # types of binary messages
FAILURES = (OSError, EOFError, ValueError, WebSocketException)


class Events:
    """The events of one client's prompts. They may be late, duplicated or lost: they are hints.

    Reconnects when the connection is lost, and never raises.
    """

    def __init__(self, address: Address, client_id: str, authorization: str, context: ssl.SSLContext):
        self._url = f"{address.websocket}/ws?clientId={client_id}"
        self._options = {
            "additional_headers": {"Authorization": authorization} if authorization else {},
            "ssl": context if address.location.is_encrypted else None,
            "proxy": None,  # ignores a proxy of the environment
            "open_timeout": OPEN_TIMEOUT,
            "close_timeout": 0.1,  # remaining events are not needed
            "max_size": LARGEST_MESSAGE,
            "max_queue": 64,  # messages that are kept; when more are unread, closing takes all of close_timeout
            "compression": None,
        }
        self._opened = ExitStack()
        self._connection: ClientConnection | None = None
        self._connect_at = float("-inf")
        self._failures = 0
        self._has_received = False

    @property
    def is_live(self) -> bool:
        """Whether events are received: ComfyUI sends one as soon as a client is connected."""
        return self._connection is not None and self._has_received

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exception) -> None:
        self._drop()

    def connect(self) -> None:
        """Connect unless connected, so that no event of a prompt submitted after this is lost."""
        if self._connection or time.monotonic() < self._connect_at:
            return
        try:
            connection = self._opened.enter_context(connect(self._url, **self._options))
            connection.send(FEATURES)
            self._connection, self._failures, self._has_received = connection, 0, False
        except FAILURES:
            self._drop()
            self._failures += 1
        self._connect_at = time.monotonic() + retry_policies.COMFYUI_EVENTS.pause(self._failures + 1)

    def next(self, seconds: float) -> dict[str, Any]:
        """The next event as `{"type": …, "data": {…}}`, or an empty one after some seconds.

        That of a preview is `{"type": "preview", "data": {"image": …}}`, with its `prompt_id` unless the server is old.
        """
        deadline = time.monotonic() + seconds
        self.connect()
        try:
            if self._connection:
                frame = self._connection.recv(seconds)
                self._has_received = True
                return _event(frame)
        except TimeoutError:
            pass
        except FAILURES:
            self._drop()
        time.sleep(max(0, deadline - time.monotonic()))
        return {}

    def _drop(self) -> None:
        self._connection = None
        with suppress(*FAILURES):
            self._opened.close()


def _event(frame: str | bytes) -> dict[str, Any]:
    if isinstance(frame, bytes):
        return _preview(frame)
    if len(frame) > LARGEST_EVENT:
        return {}
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    is_event = isinstance(event, dict) and isinstance(event.get("type"), str) and isinstance(event.get("data"), dict)
    return event if is_event else {}


def _preview(frame: bytes) -> dict[str, Any]:
    """The type and a second number begin the frame: the image's format, or the length of the metadata before it."""
    if len(frame) < 8:
        return {}
    kind, number = struct.unpack_from(">II", frame)
    if kind == PREVIEW:
        return {"type": "preview", "data": {"image": frame[8:]}}
    if kind == PREVIEW_WITH_METADATA and number <= LARGEST_EVENT:
        try:
            metadata = json.loads(frame[8 : 8 + number])
        except (ValueError, RecursionError):
            return {}
        if isinstance(metadata, dict):
            return {"type": "preview", "data": {"prompt_id": metadata.get("prompt_id"), "image": frame[8 + number :]}}
    return {}
