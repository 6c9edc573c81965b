"""gunicorn's ASGI worker with deadlines and a limit of connections, so that no client can block the others.

gunicorn has deadlines for idle connections and single reads of a body. Upstream would have to offer: a deadline for
headers and for clients that don't read, a limit of connections, and settings for the protocol class and the format of
errors. Until then this overrides private methods; `lockngen/tests/test_worker.py` fails if a release changes them.

gunicorn's master imports this module. Nothing of Django is imported before the fork, so that HUP loads new code.
"""

import gc
import resource
import signal
import socket
import sys
from contextlib import suppress

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from lockngen import settings

HEADER_TIMEOUT = 10.0  # seconds for the whole header of a request
WRITE_TIMEOUT = 30.0  # seconds in which a client must read what was sent
IDLE_TIMEOUT_IF_FULL = 2.0  # seconds after which idle connections are closed to make room
CHECK_INTERVAL = 1.0  # seconds
SEND_BUFFER = 256 * 1024  # bytes in the kernel for a client; its own choice is megabytes for clients that don't read
SWITCH_INTERVAL = 0.001  # seconds for which a busy thread delays the event loop; the default is 0.005
OTHER_FILES = 200  # descriptors that are not clients' connections
DETAILS = {
    400: "The request is not valid HTTP.",
    408: f"The request's header did not arrive within {HEADER_TIMEOUT:g} seconds.",
    414: "The request line is too long.",
    431: "The request has too many header fields, or one of them is too long.",
    503: "The service has too many connections. Try again.",
}


class Protocol(ASGIProtocol):
    """A client's connection."""

    def __init__(self, worker: "Worker"):
        super().__init__(worker)
        self._active_at = self._opened_at = worker.loop.time()
        self._header_began_at: float | None = None  # of a request whose header is incomplete
        self._blocked_since: float | None = None  # the client does not read

    def connection_made(self, transport) -> None:
        self.worker.clients.add(self)
        super().connection_made(transport)
        if len(self.worker.clients) > self.worker.max_clients:
            self.worker.is_full = True
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.clients.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closed:  # refused: further input is discarded until the client has read the response
            return
        self._active_at = self.worker.loop.time()
        super().data_received(data)
        if self._current_request is not None:
            self._header_began_at = None
        elif self._header_began_at is None:
            self._header_began_at = self._active_at

    def pause_writing(self) -> None:
        self._blocked_since = self.worker.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._blocked_since = None
        super().resume_writing()

    def check(self, now: float, *, is_full: bool, is_ending: bool) -> None:
        """Close the connection if its client missed a deadline, or if it is idle and the process is full or ends."""
        if self.transport.is_closing():
            self._blocked_since = self._blocked_since or now  # the rest of the response must still be read
        if self._blocked_since and now - self._blocked_since > WRITE_TIMEOUT:
            self.transport.abort()
        elif self._current_request is not None:
            return
        elif self._header_began_at and now - self._header_began_at > HEADER_TIMEOUT:
            self._refuse(408)
        elif self._should_close(now - self._active_at, is_full, is_ending):
            self._close_transport()

    async def _serve_http_request(self, request, sockname, peername) -> bool:
        """Serve a request without a task of its own, which takes 10 us. The application needs none after a response."""
        return await self._handle_http_request(request, sockname, peername)

    def _should_close(self, idle: float, is_full: bool, is_ending: bool) -> bool:
        is_new = self._active_at == self._opened_at  # the client has sent nothing yet
        return is_ending or (is_new and idle > HEADER_TIMEOUT) or (is_full and idle > IDLE_TIMEOUT_IF_FULL)

    def _refuse(self, status: int) -> None:
        self._send_error_response(status, "")
        self._close_transport()

    def _send_error_response(self, status, message, extra_headers=()):
        """Send a problem document, as for all errors. gunicorn's message may repeat a header, so it isn't sent."""
        from lockngen.web import problems
        from lockngen.web.handler import as_raw

        response = as_raw(problems.response(status, DETAILS.get(status, "")))
        headers = [*response.headers, (b"Connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self._safe_write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, response.phrase.encode(), lines, response.body))


gasgi.ASGIProtocol = Protocol


class Worker(gasgi.ASGIWorker):
    """A web process."""

    def init_process(self) -> None:
        self.clients: set[Protocol] = set()
        self.is_full = False  # a connection was refused since the last check
        self.max_clients = min(settings.WEB_CONNECTIONS, _allow_files(settings.WEB_CONNECTIONS) - OTHER_FILES)
        from lockngen.web.event_streams import EventStream

        EventStream.is_ending = staticmethod(lambda: not self.alive)
        self.has_ended_streams = False
        for listener in self.sockets:  # connections inherit it
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().init_process()

    def init_signals(self) -> None:
        """SIGTERM stays pending until the loop runs, as uvloop loses signals that arrive before."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def run(self) -> None:
        from lockngen.web.threads import open_connections

        sys.setswitchinterval(SWITCH_INTERVAL)
        self.loop.run_until_complete(open_connections())
        gc.freeze()  # a collection of all that was imported stops the process for 0.1 s
        self.loop.call_later(CHECK_INTERVAL, self._check)
        self.loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
        super().run()

    def _check(self) -> None:
        self.loop.call_later(CHECK_INTERVAL, self._check)  # first: an error below must not be the last check
        now, is_full, is_ending = self.loop.time(), self.is_full, not self.alive
        self.is_full = False
        from lockngen.web import threads
        from lockngen.web.event_streams import process_ends

        if is_ending and not self.has_ended_streams:
            self.has_ended_streams = True
            process_ends.send(type(self))
        threads.refuse_late()
        for client in list(self.clients):
            client.check(now, is_full=is_full, is_ending=is_ending)


def _allow_files(connections: int) -> int:
    """Raise the limit of open files to what these connections need, as far as the system allows; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft < needed:
        soft = min(needed, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
