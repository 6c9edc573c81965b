"""Replicate's list of predictions."""

from urllib.parse import urlsplit

import pytest

from generations.dialects.replicate import pages
from generations.models import Generation
from generations.tests.support.replicate import BASES, PREDICTIONS, assert_error


def ids(page: dict) -> list[str]:
    return [each["id"] for each in page["results"]]


def follow(api, url: str) -> dict:
    parts = urlsplit(url)
    return api.get(f"{parts.path}?{parts.query}").json()


@pytest.mark.parametrize("base", BASES)
def test_list__has_pages_in_both_directions(api, make_generation, monkeypatch, base):
    monkeypatch.setattr(pages, "SIZE", 2)
    newest_first = [str(make_generation().id) for _ in range(5)][::-1]

    first = api.get(f"{base}/predictions").json()
    second = follow(api, first["next"])
    third = follow(api, second["next"])

    assert ids(first) + ids(second) + ids(third) == newest_first
    assert first["next"].startswith(f"http://testserver{base}/predictions?cursor=")
    assert (first["previous"], third["next"]) == (None, None)
    assert follow(api, third["previous"]) == second
    again = follow(api, second["previous"])
    assert (ids(again), again["previous"]) == (ids(first), None)
    assert ids(follow(api, again["next"])) == ids(second)


def test_list__is_of_one_time(api, make_generation, monkeypatch):
    monkeypatch.setattr(pages, "SIZE", 1)
    old, new = (make_generation(pk=f"0{number}a2060a-d97e-74b1-8053-66d169bbcd7f") for number in (1, 2))
    Generation.objects.filter(pk=new.pk).update(created_at="2062-01-01T00:00:00Z")  # as its id says
    between = "2040-01-01T00:00:00"

    assert ids(api.get(PREDICTIONS, {"created_after": between}).json()) == [str(new.pk)]
    assert ids(api.get(PREDICTIONS, {"created_before": f"{between}Z"}).json()) == [str(old.pk)]
    both = api.get(PREDICTIONS, {"created_after": "1900-01-01T00:00:00Z"}).json()
    assert "created_after=1900-01-01T00%3A00%3A00Z" in both["next"]
    assert_error(api.get(PREDICTIONS, {"created_after": "x"}), 422, "Unprocessable Entity", "created_after")


@pytest.mark.parametrize("cursor", ["x", "r", "rAaIGCtl-dLGAU2bRabvNf", "AaIGCtl-dLGAU2bRabvNfw=="])
def test_list__refuses_an_invalid_cursor(api, cursor):
    assert_error(api.get(PREDICTIONS, {"cursor": cursor}), 422, "Unprocessable Entity", "cursor")


def test_list__reads_no_image(api, make_completed):
    make_completed()

    (shown,) = api.get(PREDICTIONS).json()["results"]

    assert shown["output"][0].startswith("http://testserver/")


def test_list__makes_as_many_queries_for_many_predictions(api, make_prediction, django_assert_max_num_queries):
    for _ in range(5):
        make_prediction("completed", "pending")
    api.get(PREDICTIONS)

    with django_assert_max_num_queries(3):
        assert len(api.get(PREDICTIONS).json()["results"]) == 5
