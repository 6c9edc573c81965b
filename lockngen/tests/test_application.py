"""The ASGI application, called without a server."""

import json
from http import HTTPStatus

import pytest
from django.db import OperationalError
from django.http import HttpResponse

from lockngen.web import fast, sample
from lockngen.web.application import Application
from lockngen.web.handler import Handler, RawResponse, as_request
from lockngen.web.problems import Problem

pytestmark = pytest.mark.anyio
PATH = "/api/v1/broken"


@pytest.fixture(scope="module")
def application() -> Application:
    return Application()


@pytest.fixture
def respond(application):
    async def respond(
        method: str = "GET", path: str = PATH, host: bytes = b"localhost"
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the response."""
        headers = [(b"host", host), (b"authorization", b"Bearer x")]
        scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path}
        sent = []

        async def receive() -> dict:
            return {"type": "http.request", "body": b""}

        async def send(message: dict) -> None:
            sent.append(message)

        await application({**scope, "query_string": b"", "headers": headers}, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        assert len(headers) == len(sent[0]["headers"])
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    return respond


@pytest.fixture
def fail_with(monkeypatch):
    def fail_with(error: Exception) -> None:
        async def operation(call: fast.Call) -> None:
            raise error

        monkeypatch.setitem(fast._operations, ("GET", PATH), operation)

    return fail_with


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError("secret"), 500), (OperationalError("the connection is lost"), 503)]
)
async def test_error_of_the_fast_path__is_a_problem_and_logged_once(respond, fail_with, caplog, error, status):
    fail_with(error)

    code, headers, body = await respond()

    assert (code, json.loads(body)["status"]) == (status, status)
    assert headers["Content-Type"] == "application/problem+json"
    assert "secret" not in body.decode()
    assert len([record for record in caplog.records if PATH in record.getMessage()]) == 1


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError("secret"), 500), (Problem(504, "Too late."), 504)])
async def test_error_of_a_held_response__is_a_problem(respond, application, monkeypatch, caplog, error, status):
    async def finish() -> HttpResponse:
        raise error

    closed = []
    headers = [(b"Content-Length", b"5"), (b"Location", b"/here"), (b"Content-Type", b"application/json")]
    held = RawResponse(201, headers, b"plain", finish=finish, close=lambda: closed.append(True))

    async def respond_held(*_) -> RawResponse:
        return held

    monkeypatch.setattr(application, "_in_thread", respond_held)

    code, headers, body = await respond()

    assert (code, json.loads(body)["status"]) == (status, status)
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Location"] == "/here"
    assert "secret" not in body.decode()
    assert len([record for record in caplog.records if record.exc_info]) == (status == 500)
    assert closed == [True]


async def test_response__is_closed_if_it_can_not_be_sent(application, monkeypatch):
    closed = []

    async def respond(*_) -> RawResponse:
        return RawResponse(200, [], chunks=never(), close=lambda: closed.append(True))

    async def never():
        yield b""

    async def send(message: dict) -> None:
        raise OSError("the client is gone")

    monkeypatch.setattr(application, "_respond", respond)

    with pytest.raises(OSError, match="the client is gone"):
        await application({"type": "http", "path": "/"}, None, send)

    assert closed == [True]


@pytest.mark.parametrize("path", ["/ht/live", "/ht/live/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_liveness__accepts_any_host_and_needs_no_thread(application, respond, monkeypatch, method, path):
    monkeypatch.setattr(application, "_in_thread", None)

    status, headers, body = await respond(method, path, b"10.0.0.7:8000")

    assert (status, body, headers["Cache-Control"]) == (200, b"OK", "no-store")


@pytest.mark.parametrize("hosts", [["*"], ["a.example"], [".example"], []])
def test_common_headers__need_no_particular_host(settings, hosts):
    settings.ALLOWED_HOSTS, settings.DEBUG = hosts, True

    assert dict(sample.common_headers(Handler(), "http"))[b"X-Content-Type-Options"] == b"nosniff"


def test_common_headers__of_a_scheme_that_is_redirected_are_none(settings):
    settings.SECURE_SSL_REDIRECT = True
    handler = Handler()

    assert sample.common_headers(handler, "http") is None
    assert sample.common_headers(handler, "https")


def test_common_headers__are_none_if_the_response_fails(monkeypatch):
    monkeypatch.setattr("ninja.openapi.views.Response", lambda schema: HttpResponse(status=HTTPStatus.BAD_GATEWAY))

    assert sample.common_headers(Handler(), "http") is None


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "utf-16", "nothing"])
def test_charset__of_a_multipart_form_has_no_effect(charset):
    part = 'Content-Disposition: form-data; name="prompt"'
    body = f"--x\r\n{part}\r\n\r\nWinter in Köln\r\n--x--\r\n".encode()
    content_type = f"multipart/form-data; boundary=x; charset={charset}".encode()
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]

    request = as_request({"method": "POST", "path": "/", "query_string": b"", "headers": headers}, body)

    assert request.POST["prompt"] == "Winter in Köln"
