"""Asynchronous clients: one that measures at a fixed rate, and ones that hold connections open."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from statistics import median, quantiles

TIMEOUT = 10.0  # seconds; a request without a response until then counts as this long, and as failed
ESTABLISHED = 1  # the first byte of Linux's TCP_INFO
CHECK_INTERVAL = 1.0  # seconds between two checks of the held connections
OPENED_AT_ONCE = 200

Request = Callable[[int], bytes]


def get(path: str, token: str = "", *lines: str) -> bytes:
    authorization = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *authorization, *lines, "", ""]).encode()


class Probe:
    """Latencies in milliseconds of requests that are sent at a fixed rate, each on a connection of its own.

    They are counted from the time at which each request is due, so that a server that stalls can't slow them down.
    """

    def __init__(self, port: int, request: bytes, per_second: float):
        self.port, self.request, self.per_second = port, request, per_second
        self.latencies: list[float] = []
        self.failed = 0

    async def run(self, seconds: float) -> None:
        started_at, calls = time.monotonic(), []
        for number in range(int(seconds * self.per_second)):
            due = started_at + number / self.per_second
            await asyncio.sleep(max(0, due - time.monotonic()))
            calls.append(asyncio.create_task(self._call(due)))
        await asyncio.gather(*calls)

    async def _call(self, due: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                status = await request_once(self.port, self.request)
            self.failed += status != 200
        except (OSError, TimeoutError, ValueError):
            self.failed += 1
        self.latencies.append((time.monotonic() - due) * 1000)

    @property
    def p99(self) -> float:
        return quantiles(self.latencies, n=100, method="inclusive")[-1]

    @property
    def median(self) -> float:
        return median(self.latencies)


async def request_once(port: int, request: bytes) -> int:
    """The status of a response that was read whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
        return int(head.split(b" ", 2)[1])
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Held:
    """Connections that send what `request` returns and never read. One that the server closes is opened again."""

    def __init__(self, port: int, count: int, request: Request):
        self.port, self.count, self.request = port, count, request
        self.sockets: list[socket.socket | None] = [None] * count
        self.opened = 0

    async def hold(self, measure: Awaitable) -> int:
        """Hold the connections while `measure` runs, and return how many were open at its end."""
        await self._open_closed()
        keeper = asyncio.create_task(self._keep())
        try:
            await measure
            return sum(map(is_open, self.sockets))
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            for held in filter(None, self.sockets):
                held.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await self._open_closed()

    async def _open_closed(self) -> None:
        closed = []
        for number, held in enumerate(self.sockets):
            if not is_open(held):
                closed.append(number)
            if number % OPENED_AT_ONCE == 0:
                await asyncio.sleep(0)  # the probes must not wait for this
        for first in range(0, len(closed), OPENED_AT_ONCE):
            await asyncio.gather(*map(self._open, closed[first : first + OPENED_AT_ONCE]))

    async def _open(self, number: int) -> None:
        if self.sockets[number]:
            self.sockets[number].close()
        held = socket.socket()
        held.setblocking(False)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sockets[number] = held
        self.opened += 1
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().sock_connect(held, ("127.0.0.1", self.port))
                await asyncio.get_running_loop().sock_sendall(held, self.request(number))


def is_open(held: socket.socket | None) -> bool:
    return bool(held) and held.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
