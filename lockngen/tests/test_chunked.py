"""Bodies in chunks, against a real web process."""

import json
import socket

import pytest

from generations.models import Generation
from lockngen.tests.support.dev import URL
from lockngen.tests.support.web import Caller

BODY = b'{"prompt":"a cat"}'


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def send(web, key, body: bytes) -> tuple[int, dict]:
    """The status and the JSON of the answer to a body that is framed already."""
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key.token}\r\n"
    head += "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        start, _, content = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(content)


@pytest.mark.parametrize("parts", [[BODY], [BODY[:17], BODY[17:]], [bytes([byte]) for byte in BODY]])
def test_chunked_body__is_read_whole(web, key, transactional_db, parts):
    status, answer = send(web, key, b"".join(map(chunk, parts)) + b"0\r\n\r\n")

    assert (status, answer["prompt"]) == (201, "a cat")


@pytest.mark.parametrize(
    "body", [chunk(BODY), chunk(BODY) + b"5\r\nab", b"12\r\n" + BODY[:10], b"no size\r\n" + BODY, b"", b"-1\r\nab\r\n"]
)
def test_chunked_body__that_breaks_off_is_refused(web, key, transactional_db, body):
    status, answer = send(web, key, body)

    assert (status, answer["status"]) == (400, 400)
    assert "broke off" in answer["detail"]
    assert not Generation.objects.exists()


def test_chunked_body__has_a_limit(web, key, transactional_db):
    status, answer = send(web, key, chunk(b"x" * 600_000) * 2 + b"0\r\n\r\n")

    assert (status, answer["status"]) == (413, 413)


def test_chunked_body__leaves_the_connection_usable(web, key, transactional_db):
    with Caller(web.port, key.token) as caller:
        for _ in range(2):
            caller.connection.request("POST", URL, iter([BODY[:5], BODY[5:]]), caller.headers, encode_chunked=True)
            answer = caller.connection.getresponse()
            assert (answer.status, json.loads(answer.read())["prompt"]) == (201, "a cat")
