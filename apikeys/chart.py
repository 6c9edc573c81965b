"""A small chart of bars, one for each of the last days, drawn as SVG by the server."""

from datetime import UTC, date, datetime, timedelta

from django.template.loader import render_to_string

WIDTH, HEIGHT = 600, 96  # of the drawing, which the page scales
GAP = 4


def by_day(counted: dict[date, int], days: int, noun: str) -> str:
    today = datetime.now(UTC).date()
    shown = [today - timedelta(days=ago) for ago in reversed(range(days))]
    counts = [counted.get(day, 0) for day in shown]
    return render_to_string(
        "apikeys/chart.html",
        {
            "bars": list(bars(shown, counts)),
            "bar_width": WIDTH / days - GAP,
            "width": WIDTH,
            "height": HEIGHT,
            "total": sum(counts),
            "most": max(counts),
            "days": days,
            "first": shown[0],
            "last": shown[-1],
            "noun": noun,
        },
    )


def bars(days: list[date], counts: list[int]):
    most = max(counts) or 1
    for place, (day, count) in enumerate(zip(days, counts, strict=True)):
        # A day with one item remains visible beside days with thousands.
        height = max(2, count / most * HEIGHT) if count else 1
        yield {"day": day, "count": count, "x": place * WIDTH / len(days), "y": HEIGHT - height, "height": height}
