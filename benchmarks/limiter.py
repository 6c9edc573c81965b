"""The cost of the limiter: requests a second of a cheap call with it and without, through gunicorn. See README.md.

.venv/bin/python -m benchmarks.limiter [--rounds 5] [--seconds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import load, report, served
from benchmarks.database import database, fill, make_keys
from benchmarks.load import KEYS, Result

CONNECTIONS, ROWS = 16, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="each measures every case (5)")
    parser.add_argument("--seconds", type=int, default=5, help="for each case in a round (5)")
    arguments = parser.parse_args()
    load.require_wrk()
    with tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder, database(Path(folder)):
        run(Path(folder), arguments.rounds, arguments.seconds)


def run(folder: Path, rounds: int, seconds: int) -> None:
    unlimited, limited = make_keys(KEYS, rate_limit=0), make_keys(KEYS)
    fill([*unlimited, *limited], ROWS)
    lines = load.write_calls(folder / "all", [*unlimited.values(), *limited.values()], ROWS).read_text().split("\n")
    first = next(iter(limited.values()))
    calls = {"off": set(unlimited.values()), "on": set(limited.values()), "hot": {first}}
    for name, tokens in calls.items():
        (folder / name).write_text("\n".join(line for line in lines if line.split()[0] in tokens))
    with served.lockngen() as with_limiter, served.lockngen("benchmarks.without:application") as without:
        cases = {
            "off": (with_limiter, "off"),
            f"on, {KEYS} keys": (with_limiter, "on"),
            "on, one key": (with_limiter, "hot"),
            "a plain SELECT instead": (without, "off"),
        }
        measured = {name: [] for name in cases}
        for round_ in range(rounds + 1):
            for name, (server, file) in cases.items():
                result = load.run(server, "get", CONNECTIONS, folder / file, seconds if round_ else min(2, seconds))
                if result.failed:
                    sys.exit(f"{name}: {result.failed} of the calls failed")
                if round_:  # the first one warms up
                    measured[name].append(result)
    print(table(measured))


def table(measured: dict[str, list[Result]]) -> str:
    rows = []
    for name, results in measured.items():
        figures = (medians(results, measured["off"], figure) for figure in ("requests", "cpu"))
        (requests, requests_ratio), (cpu, cpu_ratio) = figures
        rows.append([name, f"{requests:.0f}", f"{requests_ratio:+.1f}%", f"{cpu:.2f}", f"{cpu_ratio:+.1f}%"])
    return report.table(["limiter", "requests/s", "against off", "CPU ms", "against off"], rows)


def medians(results: list[Result], off: list[Result], figure: str) -> tuple[float, float]:
    """The median of the rounds, and the median of how each round differs from the same round with it off."""
    mine, others = ([getattr(result, figure) for result in rounds] for rounds in (results, off))
    return statistics.median(mine), statistics.median(a / b * 100 - 100 for a, b in zip(mine, others, strict=True))


if __name__ == "__main__":
    main()
