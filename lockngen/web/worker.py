"""gunicorn's threaded worker, with threads of their own for probes and for event streams.

Requests that wait for a database which doesn't answer may hold all of the others, and that is when probes matter most.
Streams go on for minutes, and would leave none for requests.
"""

import re
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from gunicorn.workers.gthread import TConn, ThreadWorker

from lockngen import settings
from lockngen.web import event_streams

LIVENESS = re.compile(rb"(GET|HEAD) /ht/live\b")
READINESS = re.compile(rb"(GET|HEAD) /ht/")
STREAM = re.compile(rb"(GET|HEAD) /api/\S+/events[ ?]")
LONGEST_START = 100  # first bytes of a request, which decide its thread pool


class Worker(ThreadWorker):
    def init_process(self) -> None:
        for listener in self.sockets:
            # Linux accepts the connection once it has data, so that its thread pool can be chosen.
            with suppress(AttributeError, OSError):
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        event_streams.end_when(lambda: not self.alive)
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return Lanes(self.cfg.threads, settings.WEB_STREAMS)


class Lanes(ThreadPoolExecutor):
    """Threads for requests, some for readiness, which may take its six seconds, and one for liveness, which may not.

    Those of streams are one more than there may be of them, which turns away whoever comes then.
    """

    def __init__(self, threads: int, most_streams: int):
        super().__init__(threads, "request")
        self.lanes = {
            LIVENESS: ThreadPoolExecutor(1, "liveness"),
            READINESS: ThreadPoolExecutor(4, "readiness"),
            STREAM: ThreadPoolExecutor(most_streams + 1, "stream", event_streams.have_own_thread),
        }

    def submit(self, handle, connection: TConn) -> Future:
        start = peek(connection.sock)
        for pattern, lane in self.lanes.items():
            if pattern.match(start):
                return lane.submit(handle, connection)
        return super().submit(handle, connection)

    def shutdown(self, *args, **options) -> None:
        for lane in self.lanes.values():
            lane.shutdown(*args, **options)
        super().shutdown(*args, **options)


def peek(connection: socket.socket) -> bytes:
    """The first bytes of the next request that have arrived."""
    try:
        return connection.recv(LONGEST_START, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # no data yet, or TLS
        return b""
