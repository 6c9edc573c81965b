"""What the fast path gains: create, get and list with it, and the same requests through Django's handler.

.venv/bin/python -m benchmarks.fast_path [--rounds 3] [--seconds 4] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks import load, report, served
from benchmarks.database import database, fill, make_keys, remove_new_rows
from benchmarks.load import KEYS
from benchmarks.throughput import IMAGE, OPERATIONS, ROWS

CONNECTIONS = 16
FAST, DJANGO = "fast path", "Django's handler"
HEADERS = {FAST: "", DJANGO: "Content-Encoding: identity"}  # the header makes a request fall back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each measures both ways (3)")
    parser.add_argument("--seconds", type=int, default=4, help="of each run (4)")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    load.require_wrk()
    results = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder,
        database(Path(folder), arguments.database),
    ):
        keys = make_keys(KEYS)
        fill(list(keys), ROWS, IMAGE)
        calls = load.write_calls(Path(folder) / "calls", list(keys.values()), ROWS)
        with served.lockngen() as server:
            for round_ in range(arguments.rounds + 1):
                for operation in OPERATIONS:
                    for way, header in HEADERS.items():
                        duration = arguments.seconds if round_ else 1
                        result = load.run(server, operation, CONNECTIONS, calls, duration, header)
                        report.log(f"round {round_}, {operation}, {way}: {result}")
                        if round_:  # the first one warms up
                            results[operation, way].append(result)
                        remove_new_rows(ROWS)
    report.publish(arguments, "fast path", [_table(results), f"{report.machine()}, {CONNECTIONS} connections."])


def _table(results: dict[tuple[str, str], list[load.Result]]) -> str:
    header = ["", *(f"requests/s, {way}" for way in HEADERS), "ratio", *(f"processor ms, {way}" for way in HEADERS)]
    rows = []
    for operation in OPERATIONS:
        requests = [median(run.requests for run in results[operation, way]) for way in HEADERS]
        cpu = [median(run.cpu for run in results[operation, way]) for way in HEADERS]
        texts = [f"{requests[0]:,.0f}", f"{requests[1]:,.0f}", f"{requests[0] / requests[1]:.2f}"]
        rows.append([operation, *texts, *(f"{milliseconds:.2f}" for milliseconds in cpu)])
    return report.table(header, rows)


if __name__ == "__main__":
    main()
