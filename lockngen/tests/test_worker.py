"""The web's network layer against clients that are slow, silent or wrong, through raw sockets."""

import inspect
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from generations.models import Generation
from lockngen.environment import BASE_DIR, PRESTART_DONE
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.dev import URL
from lockngen.tests.support.processes import WEB, Process, free_port
from lockngen.tests.support.web import Caller
from lockngen.web import worker as server

GET = b"GET /ht/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"prompt":"a cat"}'


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@pytest.fixture
def connect(web) -> Iterator:
    """Opens sockets to the web."""
    with ExitStack() as opened:

        def connect(sent: bytes = b"") -> socket.socket:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=20))
            connection.sendall(sent)
            return connection

        yield connect


def read(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def parsed(response: bytes) -> tuple[int, dict]:
    """The status and the JSON of a response."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"X-Content-Type-Options: nosniff" in head
    return int(head.split()[1]), json.loads(body)


def post(key, body: bytes, framing: bytes = b"Transfer-Encoding: chunked") -> bytes:
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key.token}\r\nConnection: close\r\n"
    return head.encode() + b"Content-Type: application/json\r\n" + framing + b"\r\n\r\n" + body


@pytest.mark.parametrize("parts", [[BODY], [BODY[:17], BODY[17:]], [bytes([byte]) for byte in BODY]])
def test_chunked_body__is_read_whole(connect, key, transactional_db, parts):
    response = read(connect(post(key, b"".join(map(chunk, parts)) + b"0\r\n\r\n")))

    status, shown = parsed(response)
    assert (status, shown["prompt"]) == (201, "a cat")


@pytest.mark.parametrize("body", [b"no size\r\n" + BODY, b"-1\r\nab\r\n", chunk(BODY) + b"5\r\nab\r\n0\r\n\r\n00"])
def test_chunked_body__that_is_malformed_is_refused(connect, key, transactional_db, body):
    status, problem = parsed(read(connect(post(key, body))))

    assert (status, problem["status"]) == (400, 400)
    assert not Generation.objects.exists()


@pytest.mark.parametrize("sent", [b"", chunk(BODY), chunk(BODY) + b"5\r\nab"])
def test_chunked_body__that_breaks_off_stores_nothing(connect, key, transactional_db, sent):
    connection = connect(post(key, sent))
    connection.shutdown(socket.SHUT_WR)

    assert read(connection) == b""
    assert not Generation.objects.exists()


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 1200000"])
def test_body__has_a_limit(connect, key, transactional_db, framing):
    body = b"x" * 1_200_000
    if framing.startswith(b"Transfer"):
        body = chunk(body[:600_000]) * 2 + b"0\r\n\r\n"

    status, problem = parsed(read(connect(post(key, body, framing))))

    assert (status, problem["status"]) == (413, 413)


def test_chunked_body__leaves_the_connection_usable(web, key, transactional_db):
    with Caller(web.port, key.token) as caller:
        for _ in range(2):
            caller.connection.request("POST", URL, iter([BODY[:5], BODY[5:]]), caller.headers, encode_chunked=True)
            answer = caller.connection.getresponse()
            assert (answer.status, json.loads(answer.read())["prompt"]) == (201, "a cat")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/3.1\r\nHost: localhost\r\n\r\n", 400),
        (b"what is this?\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    ],
)
def test_request__that_is_no_valid_http_is_answered(connect, sent, status):
    connection = connect(sent)

    assert parsed(read(connection))[0] == status


def test_request__without_host_is_served_as_http_1_0(connect):
    assert b"200 OK" in read(connect(b"GET /ht/live HTTP/1.0\r\n\r\n"))


def test_pipelined_requests__are_answered_in_order(connect):
    connection = connect(
        GET + GET.replace(b"/ht/live", b"/nothing") + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )

    assert re.findall(rb"HTTP/1.1 (\d+)", read(connection)) == [b"200", b"404", b"200"]


def test_clients__that_stop_in_the_middle_delay_no_others(web, connect, key, transactional_db):
    head = post(key, b"", b"Content-Length: 100")
    held = [connect(GET[:20]) for _ in range(40)] + [connect(head + b"{") for _ in range(40)]
    held += [connect(f"GET {URL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key.token}\r\n\r\n".encode())]

    with Caller(web.port, key.token) as caller:
        started_at = time.monotonic()
        assert [caller.ask(URL).status for _ in range(20)] == [200] * 20

    assert time.monotonic() - started_at < server.HEADER_TIMEOUT  # when the others' connections are closed
    assert len(held) == 81


def make_client(now: float = 0.0, **state) -> server.Protocol:
    """A connection that was opened at 0, without a network."""
    loop = SimpleNamespace(time=lambda: 0.0)
    cfg = SimpleNamespace(pre_request=None, post_request=None)
    closed: list[str] = []
    transport = SimpleNamespace(
        is_closing=lambda: False,
        abort=lambda: closed.append("aborted"),
        write=lambda data: closed.append(data.split()[1].decode()),
        can_write_eof=lambda: False,
        close=lambda: closed.append("closed"),
    )
    client = server.Protocol(SimpleNamespace(loop=loop, cfg=cfg, log=None, asgi=None))
    client.transport, client.closed = transport, closed
    for name, value in state.items():
        setattr(client, name, value)
    return client


HEADER, WRITE, IDLE = server.HEADER_TIMEOUT, server.WRITE_TIMEOUT, server.IDLE_TIMEOUT_IF_FULL


@pytest.mark.parametrize(
    ("state", "after", "closed"),
    [
        ({}, HEADER - 1, []),
        ({}, HEADER + 1, ["closed"]),  # it never sent anything
        ({"_active_at": 5.0, "_header_began_at": 1.0}, HEADER, []),
        ({"_active_at": 5.0, "_header_began_at": 1.0}, HEADER + 2, ["408", "closed"]),
        ({"_active_at": 5.0}, HEADER + 6, []),  # idle between requests: gunicorn's keepalive counts
        ({"_current_request": object()}, 1000, []),  # it waits for a response
        ({"_current_request": object(), "_blocked_since": 1.0}, WRITE, []),
        ({"_current_request": object(), "_blocked_since": 1.0}, WRITE + 2, ["aborted"]),
    ],
)
def test_deadlines__close_connections(state, after, closed):
    client = make_client(**state)

    client.check(after, is_full=False, is_ending=False)

    assert client.closed == closed


@pytest.mark.parametrize(("situation", "after"), [({"is_full": True}, IDLE + 1), ({"is_ending": True}, 0.5)])
def test_idle_connection__makes_room(situation, after):
    idle, busy = make_client(_active_at=0.1), make_client(_active_at=0.1, _current_request=object())
    situation = {"is_full": False, "is_ending": False, **situation}

    for client in (idle, busy):
        client.check(after, **situation)

    assert (idle.closed, busy.closed) == (["closed"], [])


def test_gunicorn__has_the_private_parts_that_are_overridden():
    assert inspect.signature(ASGIProtocol._send_error_response) == inspect.signature(
        server.Protocol._send_error_response
    )
    assert "await self._serve_http_request(\n" in inspect.getsource(ASGIProtocol._handle_connection)
    assert inspect.signature(ASGIProtocol._handle_http_request).parameters["complete"].default is None
    assert not inspect.signature(ASGIProtocol._close_transport).parameters.keys() - {"self"}
    assert "ASGIProtocol(self)" in inspect.getsource(gasgi.ASGIWorker._serve)
    assert {"_current_request", "_closed"} <= vars(make_client()).keys()


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


def test_sigterm__while_a_worker_loads_the_application_is_not_lost(tmp_path, transactional_db):
    (tmp_path / "signalled.py").write_text(
        "import os, signal\nfrom lockngen.asgi import application\nos.kill(os.getpid(), signal.SIGTERM)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "WEB_WORKERS": "1", "PORT": str(free_port()), "DEBUG": "on"}
    environment[PRESTART_DONE] = "1"
    command = [*WEB[:-1], "signalled:application"]
    web = Process(command, tmp_path / "log", {**os.environ, "DATABASE_URL": database_url(), **environment})
    try:
        web.wait_until(lambda: "Worker exiting" in web.output(), seconds=20)
    finally:
        web.stop()
