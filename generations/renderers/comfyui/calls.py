"""HTTP calls to a server that may be slow, broken or hostile: each has a deadline and a maximum size of its answer.

httpx's timeouts are for single reads, so a server that sends a byte now and then could hold a caller forever. A call
runs in the client's own event loop, which ends it at any point: at its deadline, or when `tick` raises an error.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from generations.renderers.base import RendererFailure
from generations.renderers.comfyui import diagnosis
from generations.renderers.comfyui.address import Address

TIMEOUT = httpx.Timeout(6, connect=3)  # seconds for each step of a call
TICK = 0.25  # seconds between two calls of `tick` while a call runs
SECONDS = 20.0  # for a whole call
HEADERS = {"Accept-Encoding": "identity"}
JSON = {"Content-Type": "application/json"}


class Unreachable(RendererFailure):
    """There was no answer, or its status requires a later retry."""


class TooLarge(Exception):
    """The answer has more bytes than the call allows."""


@dataclass(frozen=True, slots=True)
class Answer:
    call: str
    status: int
    content_type: str
    content: bytes

    @property
    def is_page(self) -> bool:
        return "html" in self.content_type or self.content.lstrip()[:1] == b"<"

    def json(self) -> dict[str, Any]:
        """The content's JSON object. Raises RendererFailure if the content is something else."""
        try:
            content = json.loads(self.content)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise diagnosis.not_understood(diagnosis.PAGE if self.is_page else f"{self.call} returned no JSON object")
        return content


class Calls:
    """Calls to one server, one at a time on one connection. `seconds` limits the duration of all calls together."""

    def __init__(
        self,
        address: Address,
        authorization: str,
        context: ssl.SSLContext,
        tick: Callable[[], None] = lambda: None,
        seconds: float = float("inf"),
    ):
        self._tick, self._deadline = tick, time.monotonic() + seconds
        self._loop = asyncio.new_event_loop()
        self._http = httpx.AsyncClient(
            base_url=address.http,
            headers=HEADERS | ({"Authorization": authorization} if authorization else {}),
            timeout=TIMEOUT,
            verify=context,
            trust_env=False,  # ignores a proxy or .netrc of the environment
            follow_redirects=False,  # the authorization is only for this server
        )

    def close(self) -> None:
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()

    def call(
        self, method: str, path: str, body: dict | None = None, *, most: int, seconds: float = SECONDS, **options
    ) -> Answer:
        """Return the answer to a call, which has at most `most` bytes.

        Raises Unreachable, RendererFailure, TooLarge, and the errors of `tick`.
        """
        content = None if body is None else json.dumps(body).encode()
        exchange = self._exchange(method, path, most, content=content, headers=JSON if body else None, **options)
        seconds = min(seconds, self._deadline - time.monotonic())
        try:
            return self._loop.run_until_complete(self._bounded(exchange, seconds))
        except (httpx.TransportError, TimeoutError) as error:
            raise Unreachable("The renderer can't be reached.", diagnosis.of_error(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise diagnosis.not_understood(error) from None

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
            if encoding != "identity":  # decoding may turn a kilobyte into gigabytes
                raise diagnosis.not_understood(f"it sent Content-Encoding {encoding[:40]}, which was not accepted")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > most:
                    raise TooLarge(f"{method} {path} returned more than {most} bytes")
        content_type = answer.headers.get("Content-Type", "")
        return Answer(f"{method} {answer.url.path}", answer.status_code, content_type, bytes(content))
