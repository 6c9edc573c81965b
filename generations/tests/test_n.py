"""Calls that make several generations."""

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from generations.models import Generation
from generations.renderers.base import MAX_SEED
from generations.submission import Submission
from generations.tests.support.calls import assert_problem, post

pytestmark = pytest.mark.django_db(transaction=True)


def call(client, n, seed=None, **options):
    return post(client, {"prompt": "a cat", "n": n, "seed": seed}, **options)


def test_n__makes_as_many_generations_with_seeds_that_follow_each_other(api):
    items = call(api, 3, seed=7).json()["items"]

    assert [item["seed"] for item in items] == [7, 8, 9]
    assert [item["id"] for item in items] == sorted(item["id"] for item in items)
    assert {item["status"] for item in items} == {"pending"}
    assert {job.queueing_lock for job in ProcrastinateJob.objects.all()} == {item["id"] for item in items}


def test_n__draws_a_seed_where_there_is_none(api):
    seeds = [item["seed"] for item in call(api, 10).json()["items"]]

    assert seeds == list(range(seeds[0], seeds[0] + 10))


def test_n_of_1__answers_a_list(api):
    (item,) = call(api, 1).json()["items"]

    assert (item["prompt"], item["seed"]) == ("a cat", None)


@pytest.mark.parametrize("n", [0, 11, 1.0, "2", True])
def test_n__is_1_to_10(api, n):
    assert_problem(call(api, n), 422)


def test_n__has_its_last_seed_in_range(api):
    assert call(api, 2, seed=MAX_SEED - 1).status_code == 201
    assert_problem(call(api, 2, seed=MAX_SEED), 422)


def test_n__is_all_or_none_under_the_quota(client_of, make_key):
    client = client_of(make_key(max_pending=3))
    assert call(client, 2).status_code == 201

    refused = call(client, 2)

    assert_problem(refused, 429)
    assert (Generation.objects.count(), Submission.objects.count()) == (2, 1)


def test_n__is_one_call_of_the_rate_limit(client_of, make_key):
    assert call(client_of(make_key(rate_limit=60)), 5)["RateLimit-Remaining"] == "59"


def test_n__is_repeated_as_a_whole(api):
    headers = {"Idempotency-Key": "a"}
    first = call(api, 3, headers=headers).json()["items"]

    again = call(api, 3, headers=headers)

    assert again["Idempotent-Replayed"] == "true"
    assert [item["id"] for item in again.json()["items"]] == [item["id"] for item in first]
