"""Server-sent events: the number of concurrent streams, and when they end."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from weakref import WeakSet

from django.conf import settings
from django.http import StreamingHttpResponse

TICK = 0.5  # seconds a stream's source may block before it yields
HEARTBEAT = 15.0  # seconds without an event before a comment is sent, to detect a disconnected client
LONGEST_LIFE = 900.0  # seconds
RECONNECT_AFTER = 2000  # milliseconds, sent as the stream's `retry`

Source = Generator[bytes | None, None, None]
"""Yields events, and None after TICK seconds without one."""


_thread = threading.local()


class Full(Exception):
    """This process has reached its limit of streams."""


def event(name: str, data: str) -> bytes:
    """One event. The data is one line, as JSON is."""
    return f"event: {name}\ndata: {data}\n\n".encode()


def respond(source: Source) -> StreamingHttpResponse:
    """A response that sends the events of the source. Raises Full."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second is for nginx
    return StreamingHttpResponse(Stream(source), content_type="text/event-stream", headers=headers)


def have_own_thread() -> None:
    """Mark this thread as reserved for streams. In other servers streams use up to half of the request threads."""
    _thread.is_own = True


def end_when(is_ending: Callable[[], bool]) -> None:
    """Register the function that decides when all streams end."""
    Stream.is_ending = staticmethod(is_ending)


class Stream:
    """Ends with its source, with the process, or after LONGEST_LIFE, when the client reconnects."""

    is_ending = staticmethod(lambda: False)
    _open: WeakSet["Stream"] = WeakSet()  # weak: a stream that is discarded without close() does not count

    def __init__(self, source: Source):
        self._source, self._is_guest = source, not getattr(_thread, "is_own", False)
        guests = sum(stream._is_guest for stream in self._open)
        if len(self._open) >= settings.WEB_STREAMS or (self._is_guest and guests >= settings.WEB_THREADS // 2):
            raise Full
        self._open.add(self)

    def __iter__(self) -> Iterator[bytes]:
        began_at = sent_at = time.monotonic()
        yield f"retry: {RECONNECT_AFTER}\n\n".encode()
        for event in self._source:
            if event or time.monotonic() - sent_at >= HEARTBEAT:
                yield event or b": still here\n\n"
                sent_at = time.monotonic()
            if self.is_ending() or time.monotonic() - began_at >= LONGEST_LIFE:
                break

    def close(self) -> None:
        self._open.discard(self)
        self._source.close()
