"""HTTP calls to a server that may be slow, broken or hostile: each has a deadline and a maximum size of its answer.

httpx's timeouts are for single reads, so a server that sends a byte now and then could hold a caller forever. A call
runs in the client's own event loop, which ends it at any point: at its deadline, or when `tick` raises an error.
"""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import httpx

from generations.images import limits
from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.http import diagnosis
from generations.renderers.http.address import Location, Product

TIMEOUT = httpx.Timeout(6, connect=3)  # seconds for each step of a call
TICK = 0.25  # seconds between two calls of `tick` while a call runs
SECONDS = 20.0  # for a whole call
HEADERS = {"Accept-Encoding": "identity"}
JSON = {"Content-Type": "application/json"}
# Ends a call within about 30 seconds if the server's machine has gone while it rendered.
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}.items()
        if hasattr(socket, name)  # not on every system
    ),
]


@cache
def tls() -> ssl.SSLContext:
    """The trusted certificates, which take 25 ms to load."""
    return ssl.create_default_context()


class Unreachable(RendererFailure):
    """There was no answer, or its status requires a later retry."""


class TooLarge(RendererFailure):
    """The answer has more bytes than the call allows."""


@dataclass(frozen=True, slots=True)
class Answer:
    product: Product
    call: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_page(self) -> bool:
        return "html" in self.headers.get("Content-Type", "") or self.content.lstrip()[:1] == b"<"

    @property
    def refuses_access(self) -> bool:
        """Whether it requires another authorization, perhaps by a redirect to a login page."""
        return self.status in (401, 403, 407) or 300 <= self.status < 400

    @property
    def diagnosis(self) -> str:
        """Why it is no success, for the operator."""
        login = f"it requires {self.product.setting}, or another value of it"
        if self.status in (401, 403, 407):
            return f"it answered {self.status}: {login}"
        if self.refuses_access:
            return f"it answered {self.status} with a redirect, which is not followed: {login}"
        return f"{self.call} was answered with {self.status}" + (f": {self._page}" if self.is_page else "")

    @property
    def _page(self) -> str:
        name, setting = self.product.name, self.product.setting
        return f"it answered with an HTML page: it is not {name}, or a login page that requires {setting}"

    def json(self) -> dict[str, Any]:
        """The content's JSON object. Raises RendererFailure if the content is something else."""
        try:
            content = json.loads(self.content)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise diagnosis.invalid_response(self._page if self.is_page else f"{self.call} returned no JSON object")
        return content


class Calls:
    """Calls to one server, one at a time on one connection. `seconds` limits the duration of all calls together."""

    def __init__(
        self,
        location: Location,
        authorization: str,
        tick: Callable[[], None] = lambda: None,
        seconds: float = float("inf"),
    ):
        self._product = location.product
        self._tick, self._deadline = tick, time.monotonic() + seconds
        self._loop = asyncio.new_event_loop()
        self._http = httpx.AsyncClient(
            base_url=location.http,
            headers=HEADERS | ({"Authorization": authorization} if authorization else {}),
            timeout=TIMEOUT,
            transport=httpx.AsyncHTTPTransport(verify=tls(), trust_env=False, socket_options=KEEPALIVE),
            trust_env=False,  # ignores a proxy or .netrc of the environment
            follow_redirects=False,  # the authorization is only for this server
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()

    def image(self, *arguments, **options) -> Answer:
        """As `call`, for an image. Raises RenderError if it is too large."""
        try:
            return self.call(*arguments, **{"most": limits.MAX_BYTES, **options})
        except TooLarge:
            raise RenderError(f"The image is larger than {limits.MAX_BYTES // 2**20} MiB.") from None

    def call(
        self, method: str, path: str, body: dict | None = None, *, most: int, seconds: float = SECONDS, **options
    ) -> Answer:
        """Return the answer to a call, which has at most `most` bytes.

        Raises RendererFailure, of which Unreachable and TooLarge are kinds, and the errors of `tick`.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = (JSON if body else {}) | options.pop("headers", {})
        exchange = self._exchange(method, path, most, content=content, headers=headers, **options)
        seconds = min(seconds, self._deadline - time.monotonic())
        try:
            return self._loop.run_until_complete(self._bounded(exchange, seconds))
        except (httpx.TransportError, TimeoutError) as error:
            raise Unreachable("The renderer can't be reached.", diagnosis.of_error(error, self._product)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise diagnosis.invalid_response(error) from None

    async def _bounded(self, exchange, seconds: float) -> Answer:
        task = asyncio.ensure_future(exchange)
        deadline = time.monotonic() + seconds
        try:
            while not task.done():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({task}, timeout=min(left, TICK))
                self._tick()
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=TICK)

    async def _exchange(self, method: str, path: str, most: int, **options) -> Answer:
        async with self._http.stream(method, path, **options) as answer:
            encoding = answer.headers.get("Content-Encoding", "identity")
            if encoding != "identity":  # a kilobyte may decode to gigabytes
                raise diagnosis.invalid_response(f"it sent Content-Encoding {encoding[:40]}, which was not accepted")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > most:
                    raise TooLarge(diagnosis.INVALID, f"{method} {path} returned more than {most} bytes")
        call = f"{method} {answer.url.path}"
        return Answer(self._product, call, answer.status_code, answer.headers, bytes(content))
