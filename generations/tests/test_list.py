from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from generations.api import cursors
from generations.status import Status
from generations.tests.support.calls import URL, assert_problem


@pytest.fixture
def make_page(make_generation):
    """Generations, newest first."""
    return lambda count, **fields: [make_generation(**fields) for _ in range(count)][::-1]


def ids(answer) -> list[str]:
    return [item["id"] for item in answer.json()["items"]]


def test_list__has_all_pages_newest_first(api, make_page):
    expected = [str(generation.id) for generation in make_page(5)]

    found, cursor, sizes = [], "", []
    while cursor is not None:
        answer = api.get(URL, {"limit": 2, "cursor": cursor} if cursor else {"limit": 2})
        found += ids(answer)
        sizes.append(len(ids(answer)))
        cursor = answer.json()["next_cursor"]

    assert found == expected
    assert sizes == [2, 2, 1]


def test_list__has_no_next_page_after_a_last_full_one(api, make_page):
    make_page(2)

    assert api.get(URL, {"limit": 2}).json()["next_cursor"] is None


def test_list__has_twenty_items_by_default(api, make_page):
    make_page(21)

    assert len(ids(api.get(URL))) == 20


def test_list__filters_by_status(api, make_page, make_generation):
    make_page(1)
    processing = make_generation(status=Status.PROCESSING)

    assert ids(api.get(URL, {"status": "processing"})) == [str(processing.id)]
    assert ids(api.get(URL, {"status": "failed"})) == []


def test_list__continues_within_a_status(api, make_page):
    oldest = make_page(3, status=Status.PROCESSING)[-1]
    make_page(1)

    cursor = api.get(URL, {"status": "processing", "limit": 2}).json()["next_cursor"]

    assert ids(api.get(URL, {"status": "processing", "cursor": cursor})) == [str(oldest.id)]


def test_list__is_ordered_by_id(api, make_generation):
    first = make_generation(created_at=timezone.now() + timedelta(hours=1))
    second = make_generation()

    assert ids(api.get(URL)) == [str(second.id), str(first.id)]


def test_list__hides_deleted_ones_and_those_of_others(api, make_page, make_key, client_of):
    first, second = make_page(2)
    first.delete()

    assert ids(api.get(URL)) == [str(second.id)]
    assert ids(client_of(make_key()).get(URL)) == []


def test_list__continues_after_the_row_of_the_cursor_was_deleted(api, make_page):
    _, middle, oldest = make_page(3)
    cursor = api.get(URL, {"limit": 2}).json()["next_cursor"]
    middle.delete()

    assert ids(api.get(URL, {"cursor": cursor})) == [str(oldest.id)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "done"}, "status"),
        ({"status": "2"}, "status"),
        ({"status": ""}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "1.0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "١"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "é\x00"}, "cursor"),
        ({"cursor": "A" * 23}, "cursor"),
    ],
)
def test_list__names_the_invalid_parameter(api, query, field):
    assert_problem(api.get(URL, query), 422, field)


@given(st.uuids())
def test_cursor__decodes_to_its_id(id):
    assert cursors.decode(cursors.encode(id)) == id


@given(st.text() | st.text(alphabet="ABCabc012-_=", min_size=20, max_size=24))
def test_cursor__of_any_other_text_is_refused(text):
    try:
        id = cursors.decode(text)
    except ValueError:
        return
    assert cursors.encode(id) == text
