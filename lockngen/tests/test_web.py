"""Probes get a thread while every other one is held up."""

import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from lockngen.environment import BASE_DIR
from lockngen.web.worker import Lanes


@pytest.fixture
def make_connection():
    """What gunicorn has of a connection on which a client has sent this."""
    pairs = []

    def make(sent: bytes = b"") -> SimpleNamespace:
        client, server = socket.socketpair()
        pairs.append((client, server))
        client.sendall(sent)
        return SimpleNamespace(sock=server)

    yield make
    for client, server in pairs:
        client.close(), server.close()


@pytest.fixture
def lanes():
    lanes = Lanes(2, most_streams=1)
    yield lanes
    lanes.shutdown()


@pytest.fixture
def held_up(lanes, make_connection):
    """Requests hold all of the threads, and the readiness probes all of theirs, until the test ends."""
    over = threading.Event()
    for path, count in {b"/api/v1/generations": 2, b"/ht/": 4}.items():
        for _ in range(count):
            lanes.submit(lambda _: over.wait(10), make_connection(b"GET " + path + b" HTTP/1.1\r\n\r\n"))
    yield
    over.set()


@pytest.mark.parametrize("request_line", [b"GET /ht/live HTTP/1.1", b"HEAD /ht/live/ HTTP/1.0", b"GET /ht/live?x=1 "])
def test_liveness__is_answered_while_everything_else_waits(lanes, held_up, make_connection, request_line):
    connection = make_connection(request_line)

    assert lanes.submit(lambda connection: connection.sock.recv(100), connection).result(5) == request_line


STREAM = b"GET /api/v1/generations/01a2060a-d97e-74b1-8053-66d169bbcd7f/events HTTP/1.1"


@pytest.mark.parametrize(
    "request_line", [STREAM, STREAM.replace(b"GET", b"HEAD"), STREAM.replace(b" HTTP", b"?x=1 HTTP")]
)
def test_stream__takes_no_thread_of_requests(lanes, held_up, make_connection, request_line):
    assert lanes.submit(lambda _: True, make_connection(request_line)).result(5)


def test_stream__that_is_one_too_many_is_answered(lanes, make_connection):
    over = threading.Event()
    lanes.submit(lambda _: over.wait(10), make_connection(STREAM))

    assert lanes.submit(lambda _: True, make_connection(STREAM)).result(5)
    over.set()


def test_readiness__does_not_wait_for_requests(lanes, make_connection):
    over = threading.Event()
    for _ in range(5):
        lanes.submit(lambda _: over.wait(10), make_connection(b"POST /api/v1/generations HTTP/1.1"))

    answered = lanes.submit(lambda _: True, make_connection(b"GET /ht/?format=json HTTP/1.1"))

    assert answered.result(5)
    over.set()


@pytest.mark.parametrize("start", [b"", b"GET /ht/lively HTTP/1.1", b"GET /html HTTP/1.1", b"POST /ht/live HTTP/1.1"])
def test_request__that_is_no_liveness_probe_does_not_take_its_thread(lanes, held_up, make_connection, start):
    with pytest.raises(TimeoutError):
        lanes.submit(lambda _: True, make_connection(start)).result(0.2)


FORK_AND_SIGNAL = """
import os, runpy, signal
signal.signal(signal.SIGTERM, lambda *_: None)  # as gunicorn's master has it while it forks
runpy.run_path("lockngen/web/gunicorn.py")["end_forked_workers_by_sigterm"]()
for _ in range(50):
    if not (child := os.fork()):
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
assert not signal.pthread_sigmask(signal.SIG_BLOCK, {}), "the master takes signals"
"""


def test_worker__that_has_just_been_forked_ends_by_sigterm():
    done = subprocess.run([sys.executable, "-c", FORK_AND_SIGNAL], cwd=BASE_DIR, timeout=20, capture_output=True)

    assert done.returncode == 0, done.stderr
