"""The ASGI application. The event loop reads whole requests and writes responses; threads run Django.

A client that is slow, waits or streams holds neither a thread nor a database connection.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from lockngen.web import problems, threads
from lockngen.web.handler import Handler, RawResponse, as_raw
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
    """The ASGI application of a process."""

    def __init__(self):
        self._handler = Handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # there are no WebSockets
            return
        upload = Upload(scope, receive)
        try:
            response = await self._respond(scope, upload)
        except Disconnected:
            return
        await _send_response(response, send)
        await upload.discard_rest()

    async def _respond(self, scope: Scope, upload: Upload) -> RawResponse:
        if reason := refusal(scope):
            return as_raw(problems.response(400, reason))
        try:
            body = await upload.read()
        except problems.Problem as problem:
            return as_raw(problems.of(problem))
        if scope["path"] in ("/ht/live", "/ht/live/") and scope["method"] in ("GET", "HEAD"):
            return ALIVE  # by the loop itself: every thread may be waiting for a database that is unavailable
        return await threads.run(threads.of_path(scope["path"]), self._handler, scope, body)


def refusal(scope: Scope) -> str | None:
    """Why the request is no valid HTTP, or None."""
    if not scope["path"].startswith("/"):
        return "The request's target is not a path."
    if scope["http_version"] != "1.0" and sum(name == b"host" for name, _ in scope["headers"]) != 1:
        return "A request needs one Host header (RFC 9112, 3.2)."
    return None


async def _send_response(response: RawResponse, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    if response.chunks is None:
        await send({"type": "http.response.body", "body": response.body})
        return
    async with aclosing(response.chunks) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})
