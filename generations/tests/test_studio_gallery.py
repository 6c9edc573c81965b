"""The studio's gallery: its pages and its filters."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from generations.models import Generation
from generations.studio import gallery
from generations.tests.support.encoded import PNG

pytestmark = pytest.mark.django_db
URL = "/studio/gallery"


@pytest.fixture
def studio(key) -> Client:
    browser = Client(headers={"Accept-Language": "en"})
    browser.post("/studio/sign-in", {"token": key.token})
    return browser


def ids(answer) -> list[str]:
    return re.findall(r'data-id="([0-9a-f-]{36})"', answer.content.decode())


def test_gallery__has_all_pages_newest_first(studio, make_completed):
    expected = [str(make_completed().id) for _ in range(gallery.PAGE + 3)][::-1]

    first = studio.get(URL)
    following = re.search(r'hx-get="([^"]+)"', first.content.decode())[1]

    assert ids(first) + ids(studio.get(following)) == expected


def test_gallery__has_the_proportions_and_a_placeholder_of_each_image(studio, make_completed):
    generation = make_completed(image=PNG)

    page = studio.get(URL).content.decode()

    assert f'width="{generation.image_width}" height="{generation.image_height}"' in page
    assert f'src="data:image/webp;base64,{generation.image_placeholder}"' in page


def test_empty_gallery__says_what_to_do(studio):
    assert b"Your images will appear here" in studio.get(URL).content
    assert b"Nothing has been found" in studio.get(URL, {"q": "nothing"}).content


@pytest.mark.parametrize("cursor", ["x", "A" * 21, "é"])
def test_cursor__of_no_page_is_a_bad_request(studio, cursor):
    answer = studio.get(URL, {"cursor": cursor})

    assert answer.status_code == 400
    assert b"The cursor is not that of a page." in answer.content


def test_filters__are_combined(studio, make_completed):
    found = make_completed(prompt="a red lighthouse", model="sketch", labels={"project": "a=b"})
    make_completed(prompt="a red lighthouse", model="sketch")
    make_completed(prompt="a red lighthouse", labels={"project": "a=b"})
    make_completed(prompt="a harbour", model="sketch", labels={"project": "a=b"})

    answer = studio.get(URL, {"q": "lighthouse", "model": "sketch", "label": "project = a=b"})

    assert ids(answer) == [str(found.id)]


def test_status__shows_others_than_images(studio, make_completed, make_generation):
    completed, failed, deleted = make_completed(), make_generation(), make_completed()
    failed.fail(failed.start(), "It broke.")
    deleted.delete()

    assert ids(studio.get(URL)) == [str(completed.id)]
    assert ids(studio.get(URL, {"status": "failed"})) == [str(failed.id)]
    assert ids(studio.get(URL, {"status": "bin"})) == [str(deleted.id)]


def test_dates__include_both_days(studio, make_completed):
    generation = make_completed()
    today = timezone.now().date()

    assert ids(studio.get(URL, {"from": today, "to": today})) == [str(generation.id)]
    assert ids(studio.get(URL, {"to": today - timedelta(days=1)})) == []
    assert ids(studio.get(URL, {"from": today + timedelta(days=1)})) == []


@pytest.mark.parametrize(
    "query", [{"from": "2026-13-45"}, {"label": "x"}, {"status": "x"}, {"to": "\0"}, {"to": "9999-12-31"}]
)
def test_filter__that_cannot_be_read_is_ignored(studio, make_completed, query):
    generation = make_completed()
    if "status" in query:
        generation = make_completed()

    assert str(generation.id) in ids(studio.get(URL, query))


@pytest.mark.parametrize("name", gallery.FILTERS)
def test_filter__with_a_nul_does_no_harm(studio, name):
    assert studio.get(URL, {name: "a=\0"}).status_code == 200


def test_home__has_the_filters_of_its_address(studio, make_completed):
    page = studio.get("/", {"q": 'a "b', "status": "bin"}).content.decode()

    assert 'value="a &quot;b"' in page
    assert "?q=a+%22b&amp;status=bin" in page


def test_strangers_images__are_in_no_filter(studio, make_completed, make_key):
    other = make_key()
    make_completed(api_key=other, labels={"a": "b"})
    make_completed(api_key=other).delete()

    for query in ({}, {"status": "bin"}, {"q": "lighthouse"}, {"label": "a=b"}):
        assert ids(studio.get(URL, query)) == []
    assert Generation.all_objects.count() == 2
