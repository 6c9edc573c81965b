"""Answers that go on for long, as server-sent events: how many there may be at once, and when they end."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from weakref import WeakSet

from django.conf import settings
from django.http import StreamingHttpResponse

TICK = 0.5  # seconds: how long the source of a stream may wait before it yields
HEARTBEAT = 15.0  # seconds of silence after which something is sent, so that a client that vanished is noticed
LONGEST_LIFE = 900.0  # seconds
RECONNECT_AFTER = 2000  # milliseconds, which clients are told

Source = Generator[bytes | None, None, None]
"""Yields events, and None where there was none for TICK seconds."""


_thread = threading.local()


class Full(Exception):
    """This process has as many streams as it may have."""


def event(name: str, data: str) -> bytes:
    """One event. The data are one line, as JSON is."""
    return f"event: {name}\ndata: {data}\n\n".encode()


def respond(source: Source) -> StreamingHttpResponse:
    """The answer that sends what the source yields. Raises Full."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the last is for nginx
    return StreamingHttpResponse(Stream(source), content_type="text/event-stream", headers=headers)


def have_own_thread() -> None:
    """Say that this thread is there for streams. Elsewhere they take up to half of the threads that requests have."""
    _thread.is_own = True


def end_when(is_ending: Callable[[], bool]) -> None:
    """Have all streams end as soon as this says so."""
    Stream.is_ending = staticmethod(is_ending)


class Stream:
    """Ends with its source, with the process, and after LONGEST_LIFE, when the client asks again."""

    is_ending = staticmethod(lambda: False)
    _open: WeakSet["Stream"] = WeakSet()  # what is dropped without having been closed takes no place

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
