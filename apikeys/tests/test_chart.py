from datetime import date, timedelta

from django.utils import timezone

from apikeys import chart


def test_bars__scale_to_the_largest_count():
    today = timezone.now().date()
    days = [today - timedelta(days=2), today - timedelta(days=1), today]

    drawn = list(chart.bars(days, [0, 1000, 1]))

    assert [bar["height"] for bar in drawn] == [1, chart.HEIGHT, 2]
    assert [bar["x"] for bar in drawn] == [0, 200, 400]
    assert all(bar["y"] + bar["height"] == chart.HEIGHT for bar in drawn)


def test_by_day__without_usage():
    assert "0 generations in 3 days" in chart.by_day({date(2020, 1, 1): 5}, 3, "generations")
