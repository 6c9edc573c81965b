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


@pytest.mark.parametrize(("percent", "reported"), [(-1, 0), (0, 0), (41, 41), (99, 99), (100, 99), (1000, 99)])
def test_report__is_below_100(percent, reported):
    assert Report.of(1, percent) == Report(1, reported)


def test_throttle__publishes_each_change_once(throttle):
    reports = [Report(2, 10), Report(2, 10), Report(2, 10, step=3, steps=30), Report(2, 10, step=3, steps=30)]

    assert [throttle.should_publish(report) for report in reports] == [True, False, True, False]


def test_throttle__does_not_publish_the_initial_0(throttle):
    assert not throttle.should_publish(Report(2, 0))


def test_throttle__repeats_an_unchanged_report_after_a_while(throttle, clock):
    published = []
    for _ in range(12):
        published.append(throttle.should_publish(Report(2, 10)))
        clock.now += REPEAT_AFTER / 5

    assert published == [True, False, False, False, False] * 2 + [True, False]
