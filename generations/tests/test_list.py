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


def test_list__filters_by_label(api, make_generation):
    both = make_generation(labels={"project": "a", "shot": "1:2"})
    make_generation(labels={"project": "a"})
    make_generation(labels={"shot": "project"})

    assert ids(api.get(URL, {"label": ["project:a", "shot:1:2"]})) == [str(both.id)]
    assert len(ids(api.get(URL, {"label": "project:a"}))) == 2
    assert ids(api.get(URL, {"label": "project:"})) == []


@pytest.mark.parametrize("labels", [["a"], ["a:b"] * 4, ["a:\0"]])
def test_list__refuses_other_labels(api, labels):
    assert_problem(api.get(URL, {"label": labels}), 422)


def test_list__searches_the_words_of_prompts(api, make_generation):
    found = make_generation(prompt="A red lighthouse in fog")
    make_generation(prompt="A red harbour")

    assert ids(api.get(URL, {"q": "lighthouse -harbour"})) == [str(found.id)]
    assert ids(api.get(URL, {"q": '"red fog"'})) == []


def test_list__filters_by_model(api, make_generation):
    found = make_generation(model="sketch")
    make_generation()

    assert ids(api.get(URL, {"model": "sketch"})) == [str(found.id)]


def test_list__filters_by_time(api, make_page):
    make_page(2)
    now = timezone.now()

    assert len(ids(api.get(URL, {"created_after": (now - timedelta(hours=1)).isoformat()}))) == 2
    assert ids(api.get(URL, {"created_after": (now + timedelta(hours=1)).isoformat()})) == []
    assert ids(api.get(URL, {"created_before": (now - timedelta(hours=1)).isoformat()})) == []
    assert_problem(api.get(URL, {"created_before": "2026-01-01T00:00:00"}), 422)
    assert ids(api.get(URL, {"created_before": "0001-01-01T00:00:00Z"})) == []


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"]
)
def test_times__far_away_are_no_error(api, make_generation, name, time):
    make_generation()

    assert api.get(URL, {name: time}).status_code == 200


def test_times__include_the_moment_of_creation_itself(api, make_generation):
    generation = make_generation()

    assert ids(api.get(URL, {"created_after": generation.created_at.isoformat()})) == [str(generation.id)]
    assert ids(api.get(URL, {"created_before": generation.created_at.isoformat()})) == []


def test_update__replaces_the_labels(api, make_generation):
    generation = make_generation(labels={"a": "1", "b": "2"})

    answer = api.patch(f"{URL}/{generation.id}", {"labels": {"a": "3"}}, content_type="application/json")

    assert answer.json()["labels"] == {"a": "3"}
    assert api.get(f"{URL}/{generation.id}").json()["labels"] == {"a": "3"}


def test_update__of_a_stranger_s_generation_is_a_404(api, make_generation, make_key):
    generation = make_generation(api_key=make_key())

    assert_problem(api.patch(f"{URL}/{generation.id}", {"labels": {}}, content_type="application/json"), 404)
    generation.refresh_from_db()


def test_update__changes_nothing_else(api, make_generation):
    generation = make_generation()

    assert_problem(api.patch(f"{URL}/{generation.id}", {"prompt": "x"}, content_type="application/json"), 422)
