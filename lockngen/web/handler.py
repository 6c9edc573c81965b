"""Django's handler, called in a thread with a complete request."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import quote_from_bytes

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import set_script_prefix

from lockngen.web import problems, threads

CHUNK = 64 * 1024  # bytes of a file that are read at once
QUERY_CHARACTERS = "".join(map(chr, range(0x21, 0x7F)))

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class RawResponse:
    """A response as the network layer sends it: a whole body, or chunks of one."""

    status: int
    headers: Headers
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    finish: Callable[[], Awaitable[HttpResponse]] | None = None  # gives the final response, if it isn't known yet
    close: Callable[[], None] = lambda: None  # called when the response was sent or the client has disconnected

    @property
    def phrase(self) -> str:
        return HTTPStatus(self.status).phrase


class Handler(BaseHandler):
    """Runs Django's middleware and views. Loaded once in a process, used by all of its threads."""

    def __init__(self):
        super().__init__()
        self.load_middleware()

    def __call__(self, scope: dict[str, Any], body: bytes) -> RawResponse:
        set_script_prefix(settings.FORCE_SCRIPT_NAME or "")
        signals.request_started.send(sender=type(self), scope=scope)
        request = as_request(scope, body)
        request.prior, request.id = scope.get("prior"), scope["request_id"]
        response = self.get_response(request)
        if request.method == "HEAD":  # of a page
            problems.without_body(response)
        if not response.streaming:
            response.close()  # in this thread, whose connection Django may then close
        return as_raw(response)


def as_request(scope: dict[str, Any], body: bytes = b"") -> ASGIRequest:
    request = ASGIRequest(_as_django_reads_it(scope), BytesIO(body))
    if request.content_type == "multipart/form-data":
        request.encoding = None  # it has no charset (RFC 7578), and Python has codecs that can't decode text
    return request


def as_raw(response: HttpResponse) -> RawResponse:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.output(header="").strip().encode()) for cookie in response.cookies.values()]
    if response.streaming:
        return RawResponse(response.status_code, headers, chunks=_chunks(response), close=response.close)
    return RawResponse(response.status_code, headers, response.content, finish=getattr(response, "finish", None))


async def _chunks(response: StreamingHttpResponse) -> AsyncIterator[bytes]:
    response.block_size = CHUNK  # of a FileResponse
    if response.is_async:  # an EventStream, unless the request is HEAD
        async with aclosing(response.frames) as frames:
            async for frame in frames:
                yield frame
    else:
        parts = iter(response)
        while chunk := await threads.read_file(next, parts, b""):
            yield chunk


def _as_django_reads_it(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope with the path that the client used, and a query in ASCII.

    A proxy has removed PUBLIC_URL's path. Django expects it in `path`, and removes it by FORCE_SCRIPT_NAME. It decodes
    the query as UTF-8 and fails where it is not; WSGI servers accept any bytes.
    """
    query = scope["query_string"]
    if not query.isascii():
        query = quote_from_bytes(query, safe=QUERY_CHARACTERS).encode()
    return {**scope, "path": settings.PUBLIC_PATH + scope["path"], "query_string": query}
