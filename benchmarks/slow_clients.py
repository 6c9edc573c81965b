"""The effect of slow and abusive clients on others: latencies of plain requests. See docs/performance.md.

.venv/bin/python -m benchmarks.slow_clients [--seconds 60] [--scale 1] [--only WORD] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import os

from benchmarks import report, served
from benchmarks.clients import Held, Probe, Request, get
from benchmarks.database import row_id
from benchmarks.served import KEYS, Server

ROWS = 10_000
IMAGE_BYTES = 4 * 2**20
GETS, LIVENESS = 20, 20  # a second
PATH = "/api/v1/generations"
Clients = tuple[int, Request | None]  # their number, and what each sends
COMPLETED = 2 * KEYS  # the first number of a row that is completed and belongs to the first key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="duration for each kind of client (60)")
    parser.add_argument("--scale", type=float, default=1, help="factor of the numbers of clients (1)")
    parser.add_argument("--only", default="", metavar="WORD", help="only the kinds whose name contains this")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    with served.filled(arguments.database, ROWS, os.urandom(IMAGE_BYTES)) as (server, keys):
        chosen = {name: clients for name, clients in scenarios(list(keys.values())).items() if arguments.only in name}
        rows = asyncio.run(measure(server, next(iter(keys.values())), chosen, arguments.seconds, arguments.scale))
    header = ["clients", "still open", "GET median ms", "GET p99 ms", "/ht/live p99 ms", "failed"]
    conditions = f"{report.machine()}. Each kind was held for {arguments.seconds:g} s."
    report.publish(arguments, "slow clients", [report.table(header, rows), conditions])


async def measure(
    server: Server, token: str, chosen: dict[str, Clients], seconds: float, scale: float
) -> list[list[str]]:
    rows = []
    for name, (count, request) in {"none": (0, None), **chosen}.items():
        held = Held(server.port, max(count > 0, round(count * scale)), request)
        shown = Probe(server.port, get(f"{PATH}/{row_id(0)}", token, "Connection: close"), GETS)
        live = Probe(server.port, get("/ht/live", "", "Connection: close"), LIVENESS)
        still_open = await held.hold(_both(shown, live, seconds))
        label = f"{held.count:,} {name}" if count else name
        times = [f"{time:,.1f}" for time in (shown.median, shown.p99, live.p99)]
        rows.append([label, f"{still_open:,}", *times, str(shown.failed + live.failed)])
        report.log(f"{rows[-1]}, {held.opened} connections opened")
        await asyncio.sleep(3)  # for the server to clear up
    return rows


async def _both(shown: Probe, live: Probe, seconds: float) -> None:
    await asyncio.gather(shown.run(seconds), live.run(seconds))


def scenarios(tokens: list[str]) -> dict[str, Clients]:
    """Numbers of clients and what each sends, by the row's name in the table."""
    own = [f"{PATH}/{row_id(number)}" for number in range(KEYS)]
    images = [f"{PATH}/{row_id(COMPLETED + number)}/image" for number in range(KEYS)]
    body = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {tokens[0]}\r\nContent-Length: 1000\r\n\r\n"
    )
    return {
        "that stop after the request": (80, lambda number: get(own[0], tokens[0], "Connection: close")),
        "half-sent headers": (500, lambda number: get(own[0], tokens[0])[:-20]),
        "half-sent bodies": (200, lambda number: f'{body}{{"prompt": "a'.encode()),
        "idle keep-alives": (5000, lambda number: get("/ht/live")),
        "unread downloads of 4 MB, one key": (200, lambda number: get(images[0], tokens[0])),
        f"unread downloads of 4 MB, {KEYS} keys": (
            200,
            lambda number: get(images[number % KEYS], tokens[number % KEYS]),
        ),
    }


if __name__ == "__main__":
    main()
