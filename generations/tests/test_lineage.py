"""What a key sees that replaced another by rotation."""

import json
from datetime import timedelta

import pytest

from generations.models import Generation
from generations.tests.support.calls import URL


@pytest.fixture
def rotate():
    def rotate(key):
        new, new.token = key.rotate(grace=timedelta(hours=1))
        return new

    return rotate


@pytest.fixture
def ids(client_of):
    """The ids that a key gets from the list, page by page of one."""

    def read(key) -> list[str]:
        found, query = [], {"limit": 1}
        while "cursor" not in query or query["cursor"]:
            page = json.loads(client_of(key).get(URL, query).content)
            found += [item["id"] for item in page["items"]]
            query["cursor"] = page["next_cursor"]
        return found

    return read


def test_new_key__sees_the_generations_of_all_its_predecessors(key, rotate, make_generation, ids):
    second = rotate(key)
    third = rotate(second)
    made = [make_generation(api_key=owner) for owner in (key, second, third, key)]

    assert ids(third) == [str(generation.id) for generation in reversed(made)]


def test_old_key__does_not_see_the_generations_of_its_successor(key, rotate, make_generation, ids, client_of):
    new = rotate(key)
    theirs = make_generation(api_key=new)

    assert ids(key) == []
    assert client_of(key).get(f"{URL}/{theirs.id}").status_code == 404


def test_new_key__can_cancel_and_delete_generations_of_the_old_one(key, rotate, make_generation, client_of):
    old = make_generation(api_key=key)
    new = client_of(rotate(key))

    assert new.post(f"{URL}/{old.id}/cancel").status_code == 200
    assert new.delete(f"{URL}/{old.id}").status_code == 204
    assert not Generation.objects.exists()


def test_new_key__does_not_see_generations_of_other_keys(key, rotate, make_key, make_generation, ids):
    make_generation(api_key=make_key())
    make_generation(api_key=rotate(make_key()))

    assert ids(rotate(key)) == []


def test_quota__is_that_of_the_new_key_alone(make_key, rotate, make_generation, client_of):
    old = make_key(max_pending=1)
    make_generation(api_key=old)

    answer = client_of(rotate(old)).post(URL, {"prompt": "x"}, content_type="application/json")

    assert answer.status_code == 201
