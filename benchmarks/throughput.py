"""LockN Gen beside two other stacks: create, get and list of the native API. See docs/performance.md.

.venv/bin/python -m benchmarks.throughput [--rounds 3] [--seconds 5] [--database URL] [--write]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import geometric_mean, median

from benchmarks import contract_check, load, report, served
from benchmarks.database import database, fill, make_keys, remove_new_rows
from benchmarks.load import KEYS, Result

OURS, FASTAPI, STARLETTE = "LockN Gen", "FastAPI + SQLAlchemy", "Starlette + asyncpg"
PEERS = {FASTAPI: "fastapi_sqlalchemy", STARLETTE: "starlette_asyncpg"}
OPERATIONS = ("create", "get", "list")
SPREAD, HOT = f"{KEYS} keys", "one key"
LOADS = ((16, SPREAD), (64, SPREAD), (16, HOT))
ROWS = 200_000
BUSY = 15  # percent of the processors' time for other processes
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(100)  # its content is not read here

Results = dict[tuple[str, str, int, str], list[Result]]  # a round's result by server, operation, connections and keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each measures all servers (3)")
    parser.add_argument("--seconds", type=int, default=5, help="of each run (5)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"in the table ({ROWS})")
    report.add_arguments(parser)
    arguments = parser.parse_args()
    load.require_wrk()
    with (
        tempfile.TemporaryDirectory(prefix="lockngen-benchmark-") as folder,
        database(Path(folder), arguments.database),
    ):
        results, memory = compare(Path(folder), arguments.rounds, arguments.seconds, arguments.rows)
    report.publish(arguments, "throughput", [*tables(results, memory), conditions(results)])
    if arguments.write:
        from benchmarks import plots

        plots.throughput({name: _requests(results, name) for name in (OURS, *PEERS)})


def compare(folder: Path, rounds: int, seconds: int, rows: int) -> tuple[Results, dict[str, float]]:
    """The results, and the memory of each server's processes afterwards."""
    keys = make_keys(KEYS)
    fill(list(keys), rows, IMAGE)
    tokens = list(keys.values())
    calls = {SPREAD: load.write_calls(folder / "spread", tokens, rows)}
    calls[HOT] = folder / "hot"
    calls[HOT].write_text(
        "\n".join(line for line in calls[SPREAD].read_text().split("\n") if line.startswith(tokens[0]))
    )
    results: Results = defaultdict(list)
    with ExitStack() as stack:
        servers = {OURS: stack.enter_context(served.lockngen())}
        servers |= {name: stack.enter_context(served.peer(module)) for name, module in PEERS.items()}
        contract_check.check(servers, calls[SPREAD])
        remove_new_rows(rows)
        for round_ in range(rounds + 1):
            for operation in OPERATIONS:
                for connections, keys_used in LOADS:
                    names = list(servers)
                    first = round_ % len(names)
                    for name in names[first:] + names[:first]:
                        duration = seconds if round_ else min(1, seconds)
                        result = load.run(servers[name], operation, connections, calls[keys_used], duration)
                        report.log(
                            f"round {round_}, {operation}, {connections} connections, {keys_used}, {name}: {result}"
                        )
                        if round_:  # the first one warms up
                            results[name, operation, connections, keys_used].append(result)
                        if operation == "create":
                            remove_new_rows(rows)
        return results, {name: server.memory() for name, server in servers.items()}


def tables(results: Results, memory: dict[str, float]) -> list[str]:
    return [_operations(results), _summary(results, memory)]


def _operations(results: Results) -> str:
    header = ["", "connections", "server", "requests/s", "p50 ms", "p99 ms", "processor ms a request", "failed"]
    rows = []
    for operation in OPERATIONS:
        for connections, keys in LOADS:
            for name in (OURS, *PEERS):
                runs = results[name, operation, connections, keys]
                figures = [median(getattr(run, field) for run in runs) for field in ("requests", "p50", "p99", "cpu")]
                texts = [f"{figures[0]:,.0f}", *(f"{figure:.2f}" for figure in figures[1:])]
                where = f"{connections}, {HOT}" if keys == HOT else str(connections)
                rows.append([operation, where, name, *texts, str(sum(run.failed for run in runs))])
    return report.table(header, rows, left=3)


def _summary(results: Results, memory: dict[str, float]) -> str:
    header = ["geometric mean of create, get and list", *(f"{c} connections, {keys}" for c, keys in LOADS)]
    header += [f"{HOT} / {SPREAD}", "MiB of a web process"]
    rows = []
    for name in (OURS, *PEERS):
        means = [median(_means(results, name, load_)) for load_ in LOADS]
        hot = median(
            hot / spread
            for hot, spread in zip(_means(results, name, (16, HOT)), _means(results, name, (16, SPREAD)), strict=True)
        )
        rows.append([name, *(f"{mean:,.0f}" for mean in means), f"{hot:.2f}", f"{memory[name]:.0f}"])
    for name in PEERS:
        ratios = [f"{_ratio(results, name, load_):.2f}" for load_ in LOADS]
        rows.append([f"{OURS} / {name}", *ratios, "", ""])
        for operation in OPERATIONS:
            ratios = [f"{_ratio(results, name, load_, (operation,)):.2f}" for load_ in LOADS]
            rows.append([f"… {operation} alone", *ratios, "", ""])
        savings = [f"{1 / _ratio(results, name, load_, field='cpu'):.2f}" for load_ in LOADS]
        rows.append([f"processor time of {name} / {OURS}", *savings, "", ""])
    return report.table(header, rows)


def _means(results: Results, name: str, load_: tuple[int, str], operations=OPERATIONS, field="requests") -> list[float]:
    """The geometric mean over the operations in each round."""
    rounds = zip(*(results[name, operation, *load_] for operation in operations), strict=True)
    return [geometric_mean(getattr(run, field) for run in round_) for round_ in rounds]


def _ratio(results: Results, peer: str, load_: tuple[int, str], operations=OPERATIONS, field="requests") -> float:
    """The median of the rounds' own ratios, which a change of other load on the machine affects less."""
    ours, theirs = (_means(results, name, load_, operations, field) for name in (OURS, peer))
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _requests(results: Results, name: str) -> dict[str, float]:
    return {operation: median(run.requests for run in results[name, operation, 16, SPREAD]) for operation in OPERATIONS}


def conditions(results: Results) -> str:
    runs = [run for each in results.values() for run in each]
    generator, others = (100 * median(getattr(run, field) for run in runs) for field in ("generator", "others"))
    balances = [run.balance for run in runs]
    text = (
        f"{report.machine()}. Medians of {len(runs) // len(results)} rounds. Other processes used {others:.0f}% "
        f"of the processors' time, wrk {generator:.0f}%. The less busy of two web processes used at least "
        f"{min(balances):.2f} of the other's processor time, {median(balances):.2f} in the median."
    )
    return f"{text} On a machine this busy the figures are only rough." if others > BUSY else text


if __name__ == "__main__":
    main()
