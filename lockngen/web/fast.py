"""The fast path of a few operations: without Django's request, its middleware and ninja.

Only the usual case is served here. Everything else, from a special header to a failed statement, falls back to Django
with the result so far (`Prior`). So each error is made in one place, and no call is counted twice.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from lockngen.database.breaker import breaker

# Requests with one of these fall back: they need CORS headers, or use an option that only Django's path supports.
SPECIAL_HEADERS = {b"origin", b"prefer", b"idempotency-key", b"x-stainless-retry-count", b"content-encoding"}

Operation = Callable[["Call"], Awaitable["Result"]]
_operations: dict[tuple[str, str], Operation] = {}


@dataclass
class Call:
    """A request for an operation."""

    id: str  # the last part of the path, empty if the operation has none
    base_url: str
    token: str
    query: str
    content_type: str
    body: bytes


@dataclass
class Result:
    """A successful response, without the headers that all responses share."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prior:
    """The fast path's result for a call that falls back to Django: its authentication, or the error to respond with."""

    auth_result: Any = None
    error: Exception | None = None


class Fallback(Exception):
    def __init__(self, auth_result: Any = None, error: Exception | None = None):
        self.prior = Prior(auth_result, error) if auth_result or error else None


def register(method: str, path: str, operation: Operation) -> None:
    """Serve a path by an operation. A path that ends with a slash matches all paths with an id after it."""
    _operations[method, path] = operation


def find(scope: dict[str, Any], body: bytes) -> tuple[Operation, Call] | None:
    """The operation and the call, or None if the request is not a usual case."""
    if breaker.is_open:
        return None
    path, id = scope["path"], ""
    operation = _operations.get((scope["method"], path))
    if operation is None:
        start, _, id = path.rpartition("/")
        operation = _operations.get((scope["method"], f"{start}/")) if id else None
    if operation is None:
        return None
    headers = dict(scope["headers"])
    if len(headers) != len(scope["headers"]) or not SPECIAL_HEADERS.isdisjoint(headers):
        return None
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    base_url = _base_url(scope["scheme"], headers.get(b"host", b""))
    if scheme.lower() != b"bearer" or base_url is None or not scope["query_string"].isascii():
        return None
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    query = scope["query_string"].decode()
    return operation, Call(id, base_url, token.decode("latin-1").strip(), query, content_type, body)


@lru_cache(maxsize=100)
def _base_url(scheme: str, host: bytes) -> str | None:
    """The start of links, or None if the host is not allowed."""
    request = HttpRequest()
    request.META = {"HTTP_HOST": host.decode("latin-1")}
    try:
        return settings.PUBLIC_URL or f"{scheme}://{request.get_host()}"
    except DisallowedHost:
        return None
