"""Server-sent events. Each stream is a coroutine, which holds neither a thread nor a connection while it waits."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from django.dispatch import Signal
from django.http import StreamingHttpResponse

from lockngen.web.slots import Slot, SlotHolder

process_ends = Signal()  # sent once when this process stops, to wake waiting coroutines

TICK = 5.0  # seconds a stream's source may wait before it yields
HEARTBEAT = 15.0  # seconds without an event before a comment is sent, to detect a disconnected client
MAX_LIFETIME = 900.0  # seconds
RECONNECT_AFTER = 2000  # milliseconds, sent as the stream's `retry`
COMMENT = b": still here\n\n"

Source = AsyncGenerator[bytes | None, None]
"""Yields events, and None after TICK seconds without one or when it was woken."""


def event(name: str, data: str, id: str = "") -> bytes:
    """One event. The data is one line, as JSON is."""
    start = f"id: {id}\n" if id else ""
    return f"{start}event: {name}\ndata: {data}\n\n".encode()


class EventStream(SlotHolder, StreamingHttpResponse):
    """A response that sends the events of the source."""

    is_ending: Callable[[], bool] = staticmethod(lambda: False)  # whether this process stops; set by the server

    def __init__(self, source: Source, slot: Slot, *, can_reconnect: bool = True):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second is for nginx
        # Clients that never reconnect may take `retry` for an event without data.
        self.frames = self._frames(source, f"retry: {RECONNECT_AFTER}\n\n".encode() if can_reconnect else COMMENT)
        super().__init__(self.frames, content_type="text/event-stream", headers=headers)
        self.slot = slot

    async def _frames(self, source: Source, start: bytes) -> AsyncIterator[bytes]:
        """Ends with its source, with the process, or after MAX_LIFETIME, when the client reconnects."""
        began_at = sent_at = time.monotonic()
        yield start
        async with aclosing(source) as events:
            async for event in events:
                if event or time.monotonic() - sent_at >= HEARTBEAT:
                    yield event or COMMENT
                    sent_at = time.monotonic()
                if self.is_ending() or time.monotonic() - began_at >= MAX_LIFETIME:
                    break
