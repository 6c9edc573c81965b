"""Request bodies, read whole before a thread handles the request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from lockngen.web.problems import Problem, busy

TIMEOUT = 60.0  # seconds for a whole body
MAX_IN_MEMORY = 64 * 1024 * 1024  # bytes of bodies that a process is receiving
DISCARD_TIMEOUT, MAX_DISCARDED = 5.0, 16 * 1024 * 1024  # seconds and bytes of a refused body


class Disconnected(Exception):
    """The client closed the connection before its request was complete."""


class Upload:
    in_memory = 0  # bytes, of all uploads of this process

    def __init__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]):
        self._scope, self._receive = scope, receive
        self._is_complete = False
        self._size = 0

    async def read(self) -> bytes:
        """The body. A body that is too large is read in part or not at all; Django refuses it by its Content-Length.

        A chunked body gets the Content-Length that Django needs. Raises Disconnected, or Problem if the client is too
        slow or this process receives too many bytes at once.
        """
        declared = next((value for name, value in self._scope["headers"] if name == b"content-length"), None)
        if declared and declared.isdigit() and int(declared) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return b""
        chunk = await self._next_chunk()
        body = chunk if self._is_complete else await self._read_on(chunk)
        if declared is None and body:
            self._scope["headers"].append((b"content-length", b"%d" % len(body)))
        return body

    async def discard_rest(self) -> None:
        """Read the rest of a refused body. Many clients read the response only after they have sent the body."""
        if self._is_complete:
            return
        size = 0
        try:
            async with asyncio.timeout(DISCARD_TIMEOUT):
                while not self._is_complete and size < MAX_DISCARDED:
                    size += len(await self._next_chunk())
        except (TimeoutError, Disconnected):
            pass

    async def _read_on(self, chunk: bytes) -> bytes:
        chunks = [chunk]
        try:
            async with asyncio.timeout(TIMEOUT):
                self._count(chunk)
                while not self._is_complete and self._size <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                    chunks.append(await self._next_chunk())
                    self._count(chunks[-1])
        except TimeoutError:
            raise Problem(408, f"The body did not arrive within {TIMEOUT:g} seconds.") from None
        finally:
            Upload.in_memory -= self._size
        return b"".join(chunks)

    def _count(self, chunk: bytes) -> None:
        self._size += len(chunk)
        Upload.in_memory += len(chunk)
        if Upload.in_memory > MAX_IN_MEMORY:
            raise busy("The service receives too many bodies at once. Try again.")

    async def _next_chunk(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self._is_complete = not message.get("more_body", False)
        return message.get("body", b"")
