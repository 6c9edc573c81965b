"""When waiting generations will be rendered."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from generations.models import Generation
from generations.scheduling import forecast

pytestmark = pytest.mark.django_db


@pytest.fixture
def submit(key):
    return lambda **fields: Generation.objects.submit(api_key=key, prompt="a lighthouse", **fields)


@pytest.fixture
def make_rendered(make_completed):
    """A recent render that took so many seconds."""

    def make(seconds: float, **fields) -> None:
        completed = make_completed(**{"model": "sketch", **fields})
        times = {"completed_at": Now() - timedelta(seconds=30), "started_at": Now() - timedelta(seconds=30 + seconds)}
        Generation.objects.filter(pk=completed.pk).update(**times)

    return make


def seconds_of(*generations: Generation) -> list[float | None]:
    found = forecast.of(generations)
    return [found[each.pk].seconds and round(found[each.pk].seconds, 3) for each in generations]


def test_forecast__counts_the_jobs_that_are_fetched_before(submit):
    first, second, other = submit(model="sketch"), submit(model="sketch"), submit()

    found = forecast.of([first, second, other])

    assert {each: found[each.pk].position for each in (first, second, other)} == {first: 1, second: 2, other: 1}
    assert {each.seconds for each in found.values()} == {None}


def test_forecast__is_the_median_of_recent_renders(submit, make_rendered):
    for seconds in (4, 6, 60):
        make_rendered(seconds)

    assert seconds_of(submit(model="sketch"), submit(model="sketch")) == [6, 12]


def test_forecast__depends_on_the_work_of_the_generation_and_of_those_before(submit, make_rendered):
    make_rendered(2, width=512, height=512, steps=30)
    large = submit(model="sketch", width=1024, height=1024, steps=60)
    small = submit(model="sketch", width=512, height=512, steps=15)

    assert seconds_of(large, small) == [16, 17]


def test_forecast__divides_the_work_before_by_the_renders_at_once(submit, make_rendered):
    make_rendered(2)
    for _ in range(2):
        submit(model="sketch").start()  # their jobs are still the first two
    first, second = submit(model="sketch"), submit(model="sketch")

    assert seconds_of(first, second) == [2, 3]


def test_forecast__counts_no_time_for_what_was_cancelled(submit, make_rendered):
    make_rendered(2)
    submit(model="sketch").cancel()

    assert seconds_of(submit(model="sketch")) == [2]


@pytest.mark.parametrize(
    ("samples", "work", "seconds"),
    [
        ([], 100, None),
        ([(100, 2)], 100, 2),
        ([(100, 2)], 1600, 32),
        ([(100, 2)], 50, 1),
        ([(1600, 8), (100, 2)], 1600, 20),  # fewer than are similar: all count
        ([*[(1600, 8)] * forecast.SIMILAR, *[(1, 2)] * 90], 1600, 8),  # small ones take long for their work
        ([*[(1600, 8)] * 90, *[(1, 2)] * forecast.SIMILAR], 1, 2),
    ],
)
def test_estimate__is_that_of_similar_renders(samples, work, seconds):
    assert forecast.estimate(samples, work) == seconds


def test_forecast__has_nothing_for_generations_without_a_job(make_generation):
    assert forecast.of([make_generation()]) == {}


def test_forecast__stops_counting(submit, make_rendered, monkeypatch):
    monkeypatch.setattr(forecast, "MAX_POSITION", 2)
    make_rendered(2)
    generations = [submit(model="sketch") for _ in range(4)]

    found = forecast.of(generations)

    assert [found[each.pk].is_exact for each in generations] == [True, True, False, False]
    assert seconds_of(*generations) == [2, 4, None, None]


def test_forecast__needs_few_queries(submit, django_assert_max_num_queries):
    generations = [submit(model=model) for model in ("sketch", "default") for _ in range(5)]

    with django_assert_max_num_queries(3):
        assert len(forecast.of(generations)) == 10
