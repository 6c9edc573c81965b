"""The responses with images and thumbnails."""

from io import BytesIO

import pytest
from django.core.files.storage import default_storage
from PIL import Image

from generations.models import Generation
from generations.tests.support.calls import assert_problem
from generations.tests.support.encoded import PNG, encoded

URL = "/api/v1/generations/{}/image"
THUMB = URL + "?size=thumb"


@pytest.fixture
def make_old(make_generation):
    """A generation that was completed before digests and thumbnails existed."""

    def make(image: bytes = PNG, suffix: str = "png") -> Generation:
        generation = make_generation()
        path = default_storage.save(f"generations/2026/01/{generation.id}.{suffix}", BytesIO(image))
        assert generation.complete(generation.start(), path)
        return generation

    return make


def test_image__comes_with_type_length_etag_and_caching(api, make_completed):
    generation = make_completed()

    answer = api.get(URL.format(generation.id))

    assert answer.getvalue() == PNG
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Length"] == str(len(PNG))
    assert answer["ETag"] == f'"{generation.image_sha256}"'
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
    assert "Authorization" in answer["Vary"]


@pytest.mark.parametrize(
    ("kind", "suffix", "content_type"),
    [("PNG", "png", "image/png"), ("JPEG", "jpg", "image/jpeg"), ("WEBP", "webp", "image/webp")],
)
def test_image__keeps_its_bytes_and_its_type(api, make_completed, kind, suffix, content_type):
    generation = make_completed(encoded(kind))

    answer = api.get(URL.format(generation.id))

    assert generation.image_path.endswith(f".{suffix}")
    assert (answer.getvalue(), answer["Content-Type"]) == (encoded(kind), content_type)


def test_head__has_the_length_of_the_image(api, make_completed):
    generation = make_completed()

    answer = api.head(URL.format(generation.id))

    assert (answer.status_code, answer.getvalue()) == (200, b"")
    assert answer["Content-Length"] == str(len(PNG))


@pytest.mark.parametrize("sent", ['"{tag}"', 'W/"{tag}"', '"other", "{tag}"', "*"])
@pytest.mark.parametrize(("url", "tag"), [(URL, "{}"), (THUMB, "{}-thumb")], ids=["full", "thumb"])
def test_image__with_the_etag_of_the_client_is_a_304(api, make_completed, url, tag, sent):
    generation = make_completed()
    tag = tag.format(generation.image_sha256)

    answer = api.get(url.format(generation.id), headers={"If-None-Match": sent.format(tag=tag)})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == f'"{tag}"'
    assert "immutable" in answer["Cache-Control"]


@pytest.mark.parametrize("url", [URL, THUMB], ids=["full", "thumb"])
def test_image__with_another_etag_is_sent(api, make_completed, url):
    generation = make_completed()
    other = {URL: f'"{generation.image_sha256}-thumb"', THUMB: f'"{generation.image_sha256}"'}[url]

    answer = api.get(url.format(generation.id), headers={"If-None-Match": other})

    assert answer.status_code == 200
    assert answer.getvalue()


def test_thumbnail__is_a_webp(api, make_completed):
    generation = make_completed(encoded("PNG", (768, 384)))

    answer = api.get(THUMB.format(generation.id))

    with Image.open(BytesIO(answer.getvalue())) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (384, 192))
    assert answer["Content-Type"] == "image/webp"
    assert answer["ETag"] == f'"{generation.image_sha256}-thumb"'
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize("size", ["large", "", "THUMB", "384"])
def test_unknown_size__is_a_422(api, make_completed, size):
    generation = make_completed()

    assert_problem(api.get(URL.format(generation.id), {"size": size}), 422, "size")


def test_size__full_is_the_image(api, make_completed):
    assert api.get(URL.format(make_completed().id), {"size": "full"}).getvalue() == PNG


@pytest.mark.parametrize("url", [URL, THUMB], ids=["full", "thumb"])
@pytest.mark.parametrize(
    ("kind", "suffix", "content_type"), [("PNG", "png", "image/png"), ("JPEG", "jpg", "image/jpeg")]
)
def test_image__older_than_thumbnails_is_served_for_both_sizes(api, make_old, url, kind, suffix, content_type):
    generation = make_old(encoded(kind), suffix)

    answer = api.get(url.format(generation.id))

    assert answer.getvalue() == encoded(kind)
    assert (answer["Content-Type"], answer["ETag"]) == (content_type, f'"{generation.id}"')


@pytest.mark.parametrize(
    ("end", "message"), [("pending", "yet"), ("processing", "yet"), ("failed", "no image"), ("cancelled", "no image")]
)
@pytest.mark.parametrize("url", [URL, THUMB], ids=["full", "thumb"])
def test_missing_image__is_a_404_with_the_reason(api, make_generation, url, end, message):
    generation = make_generation()
    {
        "pending": lambda: None,
        "processing": generation.start,
        "failed": lambda: generation.fail(generation.start(), "no"),
        "cancelled": generation.cancel,
    }[end]()

    answer = api.get(url.format(generation.id))

    assert answer.status_code == 404
    assert message in answer.json()["detail"]


def test_lost_file__is_a_404_and_logged(api, make_completed, caplog):
    generation = make_completed()
    default_storage.delete(generation.image_path)

    answer = api.get(URL.format(generation.id))

    assert answer.status_code == 404
    assert f"The image of generation {generation.id} is missing" in caplog.text


@pytest.mark.parametrize(("error", "status"), [(FileNotFoundError, 404), (PermissionError, 500)])
def test_slot__is_released_if_the_file_can_not_be_opened(
    api, make_completed, settings, monkeypatch, without_collector, error, status
):
    settings.WEB_DOWNLOADS_PER_KEY = 1
    generation = make_completed()

    def fail(path: str) -> None:
        raise error

    monkeypatch.setattr(default_storage, "open", fail)

    assert [api.get(URL.format(generation.id)).status_code for _ in range(3)] == [status] * 3


def test_missing_image__is_a_404_for_any_etag(api, make_generation):
    answer = api.get(URL.format(make_generation().id), headers={"If-None-Match": "*"})

    assert answer.status_code == 404


def test_generation__has_the_addresses_and_facts_of_its_image(api, make_completed):
    generation = make_completed(encoded("WEBP", (72, 64)))

    shown = api.get(f"/api/v1/generations/{generation.id}").json()

    url = f"http://testserver{URL.format(generation.id)}"
    assert (shown["image_url"], shown["thumbnail_url"]) == (url, f"{url}?size=thumb")
    assert shown["image"] == {
        "width": 72,
        "height": 64,
        "bytes": len(encoded("WEBP", (72, 64))),
        "type": "image/webp",
        "sha256": generation.image_sha256,
    }


def test_pending_generation__has_no_image(api, make_generation):
    shown = api.get(f"/api/v1/generations/{make_generation().id}").json()

    assert (shown["image_url"], shown["thumbnail_url"], shown["image"]) == (None, None, None)


def test_old_generation__has_an_image_without_facts(api, make_old):
    generation = make_old()

    shown = api.get(f"/api/v1/generations/{generation.id}").json()

    assert shown["thumbnail_url"] == f"http://testserver{THUMB.format(generation.id)}"
    assert shown["image"] is None
