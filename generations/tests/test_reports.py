import pytest

from generations.progress.reports import REPEAT_AFTER, ProgressThrottle, Report


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock) -> ProgressThrottle:
    return ProgressThrottle(attempt=2, clock=clock)


@pytest.mark.parametrize(("percent", "told"), [(-1, 0), (0, 0), (41, 41), (99, 99), (100, 99), (1000, 99)])
def test_report__leaves_100_to_what_is_completed(percent, told):
    assert Report.of(1, percent) == Report(1, told)


def test_news__is_each_change_once(throttle):
    reports = [Report(2, 10), Report(2, 10), Report(2, 10, step=3, steps=30), Report(2, 10, step=3, steps=30)]

    assert [throttle.should_publish(report) for report in reports] == [True, False, True, False]


def test_news__is_not_that_an_attempt_begins_at_0(throttle):
    assert not throttle.should_publish(Report(2, 0))


def test_news__is_what_stays_the_same_once_in_a_while(throttle, clock):
    told = []
    for _ in range(12):
        told.append(throttle.should_publish(Report(2, 10)))
        clock.now += REPEAT_AFTER / 5

    assert told == [True, False, False, False, False] * 2 + [True, False]
