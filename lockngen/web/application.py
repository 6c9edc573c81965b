"""The ASGI application. The event loop reads whole requests and writes responses; threads run Django.

A client that is slow, waits or streams holds neither a thread nor a database connection.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from secrets import token_hex
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from lockngen.database.breaker import breaker
from lockngen.web import fast, problems, threads
from lockngen.web.handler import Handler, Headers, RawResponse, as_raw
from lockngen.web.uploads import Disconnected, Upload

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

ALIVE = RawResponse(
    200,
    [
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"2"),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    ],
    b"OK",
)

SAMPLE = "/api/v1/openapi.json"  # a response of the API that needs no database
OWN_HEADERS = {b"content-type", b"content-length"}


class Application:
    """The ASGI application of a process."""

    def __init__(self):
        self._handler = Handler()
        self._headers: dict[str, Headers] = {}  # by scheme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # there are no WebSockets
            return
        scope["request_id"] = f"req_{token_hex(16)}"
        upload = Upload(scope, receive)
        try:
            response = await self._respond(scope, upload)
        except Disconnected:
            return
        response = await _finished(scope, response)
        if scope["path"].startswith(settings.API_PATHS):
            response = replace(response, headers=[*response.headers, (b"X-Request-Id", scope["request_id"].encode())])
        await _send_response(response, send)
        await upload.discard_rest()

    async def _respond(self, scope: Scope, upload: Upload) -> RawResponse:
        if reason := refusal(scope):
            return _error(scope, problems.response(400, reason))
        try:
            body = await upload.read()
        except problems.Problem as problem:
            return _error(scope, problems.of(problem))
        if scope["path"] in ("/ht/live", "/ht/live/") and scope["method"] in ("GET", "HEAD"):
            return ALIVE  # without a thread, as all may be waiting for a database that is unavailable
        try:
            return await self._in_thread(scope, body)
        except threads.Busy:
            return _error(scope, problems.unavailable("The service is too busy. Try again."))

    async def _in_thread(self, scope: Scope, body: bytes) -> RawResponse:
        if found := fast.find(scope, body):
            operation, call = found
            try:
                common = await self._common_headers(scope)  # first: nothing may fail after the operation
                return self._raw(await operation(call), common)
            except fast.Fallback as fallback:
                scope["prior"] = fallback.prior
        return await threads.of_path(scope["path"]).run(self._handler, scope, body)

    def check(self) -> None:
        """Called every second: refuse requests that wait too long. If the API has any, the database is probed."""
        if threads.API.refuse_late():
            breaker.report()
        threads.PAGES.refuse_late()

    async def _common_headers(self, scope: Scope) -> Headers:
        """The headers that the middleware adds to a successful response of the API, read once from a sample."""
        scheme = scope["scheme"]
        if scheme not in self._headers:
            host = [(name, value) for name, value in scope["headers"] if name == b"host"]
            sample = {**scope, "method": "GET", "path": SAMPLE, "query_string": b"", "headers": host}
            response = await threads.API.run(self._handler, sample, b"")
            if response.status != HTTPStatus.OK:
                raise fast.Fallback
            self._headers[scheme] = [pair for pair in response.headers if pair[0].lower() not in OWN_HEADERS]
        return self._headers[scheme]

    @staticmethod
    def _raw(result: fast.Result, common: Headers) -> RawResponse:
        own = [(name.encode(), value.encode("latin-1")) for name, value in result.headers.items()]
        own += [(b"Content-Type", b"application/json; charset=utf-8"), (b"Content-Length", b"%d" % len(result.body))]
        return RawResponse(result.status, own + common, result.body)


def refusal(scope: Scope) -> str | None:
    """Why the request is no valid HTTP, or None."""
    if not scope["path"].startswith("/"):
        return "The request's target is not a path."
    if scope["http_version"] != "1.0" and sum(name == b"host" for name, _ in scope["headers"]) != 1:
        return "A request needs one Host header (RFC 9112, 3.2)."
    return None


def _error(scope: Scope, answer: HttpResponse) -> RawResponse:
    return as_raw(problems.formatted(scope["path"], answer))


async def _finished(scope: Scope, response: RawResponse) -> RawResponse:
    """The response, or what a held response finishes with; it keeps the headers that the middleware has added."""
    if response.finish is None:
        return response
    try:
        result = await response.finish()
    except Exception:
        logger.exception("%s %r failed request_id=%s", scope["method"], scope["path"], scope["request_id"])
        result = problems.response(500)
    finished = as_raw(problems.formatted(scope["path"], result))
    replaced = {name.lower() for name, _ in finished.headers} | {b"content-length"}
    headers = [pair for pair in response.headers if pair[0].lower() not in replaced]
    length = (b"Content-Length", b"%d" % len(finished.body))
    return RawResponse(finished.status, [*headers, *finished.headers, length], finished.body)


async def _send_response(response: RawResponse, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    if response.chunks is None:
        await send({"type": "http.response.body", "body": response.body})
        return
    async with aclosing(response.chunks) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})
