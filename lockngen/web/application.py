"""The ASGI application. The event loop reads whole requests and writes responses; threads run Django.

A client that is slow, waits or streams holds neither a thread nor a database connection.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from secrets import token_hex
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from lockngen.web import error_pages, fast, problems, sample, threads
from lockngen.web.handler import Handler, Headers, RawResponse, as_raw, as_request
from lockngen.web.uploads import Disconnected, Upload

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


class Application:
    def __init__(self):
        self._handler = Handler()
        # Made before the first request, as nothing may fail after an operation, and as this imports all views.
        self._headers = {scheme: sample.common_headers(self._handler, scheme) for scheme in ("http", "https")}

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
        try:
            await _send_response(scope, await _finished(scope, response), send)
        finally:
            response.close()
        await upload.discard_rest()

    async def _respond(self, scope: Scope, upload: Upload) -> RawResponse:
        if reason := refusal(scope):
            return _formatted(scope, problems.response(400, reason))
        try:
            body = await upload.read()
        except problems.Problem as problem:
            return _formatted(scope, problems.of(problem))
        if scope["path"] in ("/ht/live", "/ht/live/") and scope["method"] in ("GET", "HEAD"):
            return ALIVE  # without a thread, as all may be waiting for a database that is unavailable
        try:
            return await self._in_thread(scope, body)
        except threads.Busy:
            return _formatted(scope, problems.unavailable("The service is too busy. Try again."))
        except Exception as error:
            return _formatted(scope, _of_error(scope, error))

    async def _in_thread(self, scope: Scope, body: bytes) -> RawResponse:
        common = self._headers.get(scope["scheme"])
        if common is not None and (found := fast.find(scope, body)):
            operation, call = found
            try:
                return self._raw(await operation(call), common)
            except fast.Fallback as fallback:
                scope["prior"] = fallback.prior
        return await threads.of_path(scope["path"]).run(self._handler, scope, body)

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


def _formatted(scope: Scope, answer: HttpResponse) -> RawResponse:
    """An error in the format of its path: of the API, of a dialect, or a page for a browser."""
    if answer.status_code >= 400 and not is_of_api(scope) and error_pages.is_requested(request := as_request(scope)):
        return as_raw(error_pages.instead_of(answer, request))
    return as_raw(problems.formatted(scope["path"], answer))


def is_of_api(scope: Scope) -> bool:
    return f"{scope['path']}/".startswith(settings.API_PATHS)


def _of_error(scope: Scope, error: Exception) -> HttpResponse:
    return problems.of_error(scope["method"], scope["path"], scope["request_id"], error)


async def _finished(scope: Scope, response: RawResponse) -> RawResponse:
    """The response, or what a held response finishes with; it keeps the headers that the middleware has added."""
    if response.finish is None:
        return response
    try:
        answer = await response.finish()
    except Exception as error:
        answer = _of_error(scope, error)
    finished = _formatted(scope, answer)
    length = (b"Content-Length", b"%d" % len(finished.body))
    own = [*(pair for pair in finished.headers if pair[0] != length[0]), length]
    replaced = {name.lower() for name, _ in own}
    return RawResponse(
        finished.status, [*(pair for pair in response.headers if pair[0].lower() not in replaced), *own], finished.body
    )


async def _send_response(scope: Scope, response: RawResponse, send: Send) -> None:
    own = [(b"X-Request-Id", scope["request_id"].encode())] if is_of_api(scope) else []
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers + own})
    if response.chunks is None:
        await send({"type": "http.response.body", "body": response.body})
        return
    async with aclosing(response.chunks) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})
