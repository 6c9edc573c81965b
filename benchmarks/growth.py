"""Latency of each API call with few rows and with many. See docs/performance.md.

.venv/bin/python -m benchmarks.growth [--rows 10000 1000000] [--rounds 10] [--calls 20] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit, urlunsplit

from benchmarks import report, served
from benchmarks.database import database, fill, make_keys, row_id

KEYS = 50
IMAGE = os.urandom(4096)
PATH = "/api/v1/generations"
BODY = '{"prompt": "a lighthouse at dusk, rain, long exposure"}'

Latencies = dict[str, dict[int, list[list[float]]]]  # milliseconds in each round by call and rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes (10000 1000000)")
    parser.add_argument("--rounds", type=int, default=10, help="each measures all sizes (10)")
    parser.add_argument("--calls", type=int, default=20, help="calls of each kind for each size in a round (20)")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder,
        database(Path(folder), arguments.database),
    ):
        latencies = measure(arguments.rows, arguments.rounds, arguments.calls)
    medians = {call: {rows: median(chain(*rounds)) for rows, rounds in of.items()} for call, of in latencies.items()}
    report.publish(arguments, "growth", [table(latencies, medians), f"{report.machine()}."])
    if arguments.write:
        from benchmarks import plots

        plots.growth(medians)


def measure(sizes: list[int], rounds: int, calls: int) -> Latencies:
    """Each round measures all sizes, so that other load on the machine affects all of them."""
    latencies: Latencies = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        clients = [stack.enter_context(_client(rows)) for rows in sizes]
        for round_ in range(rounds + 1):
            for client in clients:
                for call, milliseconds in client.measure(calls).items():
                    if round_:  # the first one warms up
                        latencies[call][client.rows].append(milliseconds)
    return latencies


@contextmanager
def _client(rows: int):
    """A client of a server whose database has so many rows."""
    with _copy_of_the_database(f"growth_{rows}") as url:
        keys = make_keys(KEYS)
        began_at = time.monotonic()
        fill(list(keys), rows, IMAGE)
        report.log(f"{rows} rows inserted in {time.monotonic() - began_at:.0f} s")
        with served.lockngen(DATABASE_URL=url) as server:
            yield Client(server.port, rows, list(keys.values()))


@contextmanager
def _copy_of_the_database(name: str):
    """A copy of the empty database, which this process uses until the next one is made; yields its URL."""
    from django.db import connections

    empty = connections.settings["default"]
    if "growth_source" not in connections.settings:
        connections.settings["growth_source"] = empty
    source = connections.settings["growth_source"]
    connection = connections["default"]
    connection.close()
    connection.close_pool()
    connections["growth_source"].close()
    connections["growth_source"].close_pool()
    with connections["growth_source"]._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {source['NAME']}")
    connections.settings[name] = {**source, "NAME": name}
    connections["default"] = connections[name]
    yield urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    connections[name].close()
    connections[name].close_pool()
    with connections["growth_source"]._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Client:
    """Sends calls one after the other, in each round on one connection."""

    def __init__(self, port: int, rows: int, tokens: list[str]):
        self.port, self.rows, self.tokens, self.number = port, rows, tokens, 0

    def measure(self, calls: int) -> dict[str, list[float]]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as self.connection:
            return self._measure(calls)

    def _measure(self, calls: int) -> dict[str, list[float]]:
        from generations.api import cursors

        latencies = defaultdict(list)
        for _ in range(calls):
            self.number += 7919
            row = self.number % self.rows
            key = row % KEYS
            completed = row // (20 * KEYS) * 20 * KEYS + 2 * KEYS + key  # of the same key
            token, id, cursor = self.tokens[key], row_id(row), cursors.encode(row_id(row))
            created = self._timed(latencies, "create", token, "POST", PATH, BODY).split(b'"id":"')[1][:36].decode()
            self._timed(latencies, "get", token, "GET", f"{PATH}/{id}")
            self._timed(latencies, "list", token, "GET", PATH)
            self._timed(latencies, "list, a later page", token, "GET", f"{PATH}?cursor={cursor}")
            self._timed(latencies, "list by status", token, "GET", f"{PATH}?status=completed")
            self._timed(latencies, "image", token, "GET", f"{PATH}/{row_id(completed)}/image")
            self._timed(latencies, "cancel", token, "POST", f"{PATH}/{created}/cancel")
            self._timed(latencies, "delete", token, "DELETE", f"{PATH}/{created}")
            self._timed(latencies, "key", token, "GET", "/api/v1/key")
        return latencies

    def _timed(self, latencies: dict, name: str, token: str, method: str, path: str, body: str = "") -> bytes:
        length = [f"Content-Length: {len(body)}"] if method == "POST" else []
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", *length, "", body]
        started_at = time.perf_counter()
        self.connection.sendall("\r\n".join(lines).encode())
        response = self._receive()
        latencies[name].append((time.perf_counter() - started_at) * 1000)
        if not response.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {response[:500]}")
        return response

    def _receive(self) -> bytes:
        response = b""
        while b"\r\n\r\n" not in response:
            response += self._part()
        head = response.partition(b"\r\n\r\n")[0]
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = len(head) + 4 + (int(lengths[0].split(b":")[1]) if lengths else 0)
        while len(response) < size:
            response += self._part()
        return response

    def _part(self) -> bytes:
        if part := self.connection.recv(65536):
            return part
        raise ConnectionResetError("The server closed the connection.")


def table(latencies: Latencies, medians: dict[str, dict[int, float]]) -> str:
    """Medians, and the ratio of the largest size to the smallest as the median of the rounds' own ratios."""
    sizes = sorted(next(iter(medians.values())))
    rows = []
    for call, of in medians.items():
        rounds = zip(latencies[call][sizes[0]], latencies[call][sizes[-1]], strict=True)
        ratio = median(median(largest) / median(smallest) for smallest, largest in rounds)
        rows.append([call, *(f"{of[size]:.2f}" for size in sizes), f"{ratio:.2f}"])
    return report.table(["median ms", *(f"{size:,} rows" for size in sizes), "ratio"], rows)


if __name__ == "__main__":
    main()
