"""The plots of docs/performance.md."""

from __future__ import annotations

from matplotlib import pyplot

from benchmarks.database import BASE

IMAGES = BASE / "docs/images"
COLOURS = ["#4f46e5", "#94a3b8", "#0d9488"]
pyplot.rcParams.update(
    {
        "svg.hashsalt": "lockngen",  # the same figures give the same file
        "svg.fonttype": "none",  # text, not paths
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def throughput(requests: dict[str, dict[str, float]]) -> None:
    """Bars of requests a second by server and operation."""
    figure, axes = pyplot.subplots(figsize=(6.4, 2.8), layout="constrained")
    width = 0.8 / len(requests)
    for number, (name, by_operation) in enumerate(requests.items()):
        places = [place + (number - (len(requests) - 1) / 2) * width for place in range(len(by_operation))]
        bars = axes.bar(places, by_operation.values(), width, label=name, color=COLOURS[number])
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=1)
    axes.set_xticks(range(len(by_operation)), by_operation)
    axes.set_ylabel("requests/s, 16 connections")
    axes.legend(frameon=False)
    _save(figure, "throughput.svg")


def growth(medians: dict[str, dict[int, float]]) -> None:
    """Lines of each call's median latency over the number of rows."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for name, by_rows in medians.items():
        axes.plot(list(by_rows), list(by_rows.values()), marker="o", markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows")
    axes.set_ylabel("median latency, ms")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, "growth.svg")


def _save(figure, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / name, metadata={"Date": None})
