import pytest

from generations.progress.reports import REPEATED, News, Report


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def news(clock) -> News:
    return News(attempt=2, clock=clock)


@pytest.mark.parametrize(("percent", "told"), [(-1, 0), (0, 0), (41, 41), (99, 99), (100, 99), (1000, 99)])
def test_report__leaves_100_to_what_is_completed(percent, told):
    assert Report.of(1, percent) == Report(1, told)


def test_news__is_each_change_once(news):
    reports = [Report(2, 10), Report(2, 10), Report(2, 10, step=3, steps=30), Report(2, 10, step=3, steps=30)]

    assert [news.is_in(report) for report in reports] == [True, False, True, False]


def test_news__is_not_that_an_attempt_begins_at_0(news):
    assert not news.is_in(Report(2, 0))


def test_news__is_what_stays_the_same_once_in_a_while(news, clock):
    told = []
    for _ in range(12):
        told.append(news.is_in(Report(2, 10)))
        clock.now += REPEATED / 5

    assert told == [True, False, False, False, False] * 2 + [True, False]
