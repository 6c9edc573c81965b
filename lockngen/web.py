"""gunicorn's threaded worker, with threads of their own for probes.

Requests that wait for a database which doesn't answer may hold all of the others, and that is when probes matter most.
"""

import re
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from gunicorn.workers.gthread import TConn, ThreadWorker

LIVENESS = re.compile(rb"(GET|HEAD) /ht/live\b")
READINESS = re.compile(rb"(GET|HEAD) /ht/")
LONGEST_START = 20  # bytes of a request that tell a probe


class Worker(ThreadWorker):
    def init_process(self) -> None:
        for listener in self.sockets:
            # Linux accepts a connection once there is something to read, so that it can be told which thread it needs.
            with suppress(AttributeError, OSError):
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return Lanes(self.cfg.threads)


class Lanes(ThreadPoolExecutor):
    """Threads for requests, some for readiness, which may take its six seconds, and one for liveness, which may not."""

    def __init__(self, threads: int):
        super().__init__(threads, "request")
        self.lanes = {LIVENESS: ThreadPoolExecutor(1, "liveness"), READINESS: ThreadPoolExecutor(4, "readiness")}

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
    """How the next request begins, as far as it is here already."""
    try:
        return connection.recv(LONGEST_START, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # nothing is here yet, or it is behind TLS
        return b""
