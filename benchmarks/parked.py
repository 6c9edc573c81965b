"""Many waiting clients: memory of the processes, other clients' latencies, and how fast an end arrives.

.venv/bin/python -m benchmarks.parked [--streams 2000] [--seconds 30] [--ends 100] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles

from benchmarks import report, served
from benchmarks.clients import Probe, get
from benchmarks.database import database, fill, make_keys, row_id
from benchmarks.served import Server

KEYS, ROWS = 50, 10_000
GETS = 20  # a second
PATH = "/api/v1/generations"
OPENED_AT_ONCE = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="event streams in all (2000)")
    parser.add_argument("--seconds", type=float, default=30, help="for which they are measured (30)")
    parser.add_argument("--ends", type=int, default=100, help="generations that end while a client waits (100)")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    with (
        tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder,
        database(Path(folder), arguments.database),
    ):
        keys = make_keys(KEYS)
        fill(list(keys), ROWS)
        pending = make_pending(list(keys), max(arguments.streams, arguments.ends))
        with served.lockngen() as server:
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
    streams = [Stream(server.port, str(pending[n].id), tokens[n % len(tokens)]) for n in range(arguments.streams)]
    for first in range(0, len(streams), OPENED_AT_ONCE):
        await asyncio.gather(*(stream.open() for stream in streams[first : first + OPENED_AT_ONCE]))
    await busy.run(arguments.seconds)
    memory, still_open = server.memory(), sum(stream.is_open for stream in streams)
    for stream in streams[arguments.ends :]:
        stream.close()
    delays = await ends(pending[: arguments.ends], streams[: arguments.ends])
    for stream in streams[: arguments.ends]:
        stream.close()
    return [
        ["streams that are open", "0", f"{still_open:,} of {len(streams):,}"],
        ["MiB of the larger web process", f"{quiet_memory:.0f}", f"{memory:.0f}"],
        ["GET, median ms", f"{quiet.median:.1f}", f"{busy.median:.1f}"],
        ["GET, p99 ms", f"{quiet.p99:.1f}", f"{busy.p99:.1f}"],
        ["GETs that failed", str(quiet.failed), str(busy.failed)],
        [f"from a generation's end to its client, {arguments.ends} waiting: median ms", "", f"{median(delays):.1f}"],
        ["… p99 ms", "", f"{quantiles(delays, n=100, method='inclusive')[-1]:.1f}"],
    ]


class Stream:
    """A client of one generation's event stream."""

    def __init__(self, port: int, id: str, token: str):
        self.port, self.request = port, get(f"{PATH}/{id}/events", token)
        self.writer: asyncio.StreamWriter | None = None
        self.reading: asyncio.Task | None = None
        self.ended_at = float("inf")

    async def open(self) -> None:
        """Send the request and wait for the first event."""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(10):
                reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.writer.write(self.request)
                await reader.readuntil(b"event: progress")
                self.reading = asyncio.create_task(self._read(reader))

    @property
    def is_open(self) -> bool:
        return self.reading is not None and not self.reading.done()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"event: end")
            self.ended_at = time.monotonic()

    def close(self) -> None:
        if self.reading:
            self.reading.cancel()
        if self.writer:
            self.writer.close()


async def ends(pending: list, streams: list[Stream]) -> list[float]:
    """Milliseconds from the moment at which each generation ends until its client has the event."""
    ended_at = []
    for generation in pending:
        ended_at.append(await asyncio.to_thread(_fail, generation))
    await asyncio.wait([stream.reading for stream in streams if stream.reading], timeout=30)
    return [(stream.ended_at - at) * 1000 for stream, at in zip(streams, ended_at, strict=True)]


def _fail(generation) -> float:
    """End the generation as a worker does; returns when that was committed."""
    attempt = generation.start()
    started_at = time.monotonic()
    generation.fail(attempt, "The renderer refused it.")
    return started_at


if __name__ == "__main__":
    main()
