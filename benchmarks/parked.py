"""Many waiting clients: memory of the processes, other clients' latencies, and how fast an end arrives.

.venv/bin/python -m benchmarks.parked [--streams 2000] [--waits 500] [--seconds 30] [--ends 100] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks import report, served
from benchmarks.clients import Probe, get
from benchmarks.database import row_id
from benchmarks.served import Server

ROWS = 10_000
GETS = 20  # a second
MARGIN = 60  # seconds that the calls wait beyond the measurement, to be opened and to get their ends
PATH = "/api/v1/generations"
OPENED_AT_ONCE = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="event streams in all (2000)")
    parser.add_argument("--waits", type=int, default=500, help="waiting calls in all (500)")
    parser.add_argument("--seconds", type=float, default=30, help="duration of the measurement (30)")
    parser.add_argument("--ends", type=int, default=100, help="generations that end during the measurement (100)")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    longest = round(arguments.seconds) + MARGIN
    with served.filled(arguments.database, ROWS, WEB_MAX_WAIT=str(longest)) as (server, keys):
        pending = make_pending(list(keys), max(arguments.streams, arguments.waits))
        rows = asyncio.run(measure(server, list(keys.values()), pending, arguments))
    report.publish(arguments, "parked", [report.table(["", "no stream", "parked"], rows), f"{report.machine()}."])


def make_pending(keys: list, count: int) -> list:
    """Pending generations of the keys in turn, without jobs."""
    from generations.models import Generation

    rows = [Generation(api_key_id=keys[number % len(keys)], prompt="a lighthouse") for number in range(count)]
    return Generation.objects.bulk_create(rows)


async def measure(server: Server, tokens: list[str], pending: list, arguments: argparse.Namespace) -> list[list[str]]:
    request = get(f"{PATH}/{row_id(0)}", tokens[0], "Connection: close")
    quiet, busy = Probe(server.port, request, GETS), Probe(server.port, request, GETS)
    await quiet.run(arguments.seconds)
    quiet_memory = server.memory()
    streams = parked(server, STREAM, pending[: arguments.streams], tokens)
    waits = parked(
        server, Kind(f"?wait={round(arguments.seconds) + MARGIN}", b"", b'"failed"'), pending[: arguments.waits], tokens
    )
    for first in range(0, len(streams + waits), OPENED_AT_ONCE):
        await asyncio.gather(*(client.open() for client in (streams + waits)[first : first + OPENED_AT_ONCE]))
    await busy.run(arguments.seconds)
    memory = server.memory()
    counts = [f"{sum(client.is_open for client in clients):,} of {len(clients):,}" for clients in (streams, waits)]
    ended_at = await end(pending[: arguments.ends])
    delays = [await received(clients[: arguments.ends], ended_at) for clients in (streams, waits)]
    for client in streams + waits:
        client.close()
    return [
        ["event streams", "0", counts[0]],
        ["waiting calls", "0", counts[1]],
        ["MiB of the larger web process", f"{quiet_memory:.0f}", f"{memory:.0f}"],
        ["GET, median ms", f"{quiet.median:.1f}", f"{busy.median:.1f}"],
        ["GET, p99 ms", f"{quiet.p99:.1f}", f"{busy.p99:.1f}"],
        ["GETs that failed", str(quiet.failed), str(busy.failed)],
        ["from a generation's end to its stream: median, p99 ms", "", delays[0]],
        ["… to its waiting call: median, p99 ms", "", delays[1]],
    ]


def parked(server: Server, kind: Kind, generations: list, tokens: list[str]) -> list[Parked]:
    requests = [get(f"{PATH}/{each.id}{kind.path}", tokens[n % len(tokens)]) for n, each in enumerate(generations)]
    return [Parked(server.port, request, kind) for request in requests]


@dataclass(frozen=True)
class Kind:
    path: str
    first: bytes  # what the response begins with, empty if nothing is sent before the end
    last: bytes


STREAM = Kind("/events", b"event: progress", b"event: end")


class Parked:
    """A client that waits for the end of one generation."""

    def __init__(self, port: int, request: bytes, kind: Kind):
        self.port, self.request, self.kind = port, request, kind
        self.writer: asyncio.StreamWriter | None = None
        self.reading: asyncio.Task | None = None
        self.ended_at = float("inf")

    async def open(self) -> None:
        """Send the request, and wait for the first event of a stream."""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(10):
                reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.writer.write(self.request)
                if self.kind.first:
                    await reader.readuntil(self.kind.first)
                self.reading = asyncio.create_task(self._read(reader))

    @property
    def is_open(self) -> bool:
        return self.reading is not None and not self.reading.done()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(self.kind.last)
            self.ended_at = time.monotonic()

    def close(self) -> None:
        if self.reading:
            self.reading.cancel()
        if self.writer:
            self.writer.close()


async def received(clients: list[Parked], ended_at: list[float]) -> str:
    """Median and 99th percentile of the milliseconds from the generations' ends until their clients have them."""
    await asyncio.wait([client.reading for client in clients if client.reading], timeout=30)
    delays = [(client.ended_at - at) * 1000 for client, at in zip(clients, ended_at, strict=True)]
    return f"{median(delays):.1f}, {quantiles(delays, n=100, method='inclusive')[-1]:.1f}"


async def end(generations: list) -> list[float]:
    """End each generation as a worker does; returns the times."""
    return [await asyncio.to_thread(_fail, generation) for generation in generations]


def _fail(generation) -> float:
    attempt = generation.start()
    began_at = time.monotonic()
    generation.fail(attempt, "The renderer refused it.")
    return began_at


if __name__ == "__main__":
    main()
