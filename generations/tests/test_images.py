from io import BytesIO

import pytest
from django.core.files.storage import default_storage
from PIL import Image

from generations import images
from generations.models import Generation

URL = "/api/v1/generations/{}/image"


def encoded(kind: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, kind)
    return file.getvalue()


def png() -> bytes:
    return encoded("PNG")


@pytest.fixture
def make_completed(make_generation):
    def make(image: bytes) -> Generation:
        generation = make_generation()
        assert generation.complete(generation.start(), images.store(generation, image))
        return generation

    return make


def test_store__puts_it_under_year_month_and_id(make_generation, image_folder):
    generation = make_generation()

    path = images.store(generation, b"bytes")

    assert path == f"generations/{generation.created_at:%Y}/{generation.created_at:%m}/{generation.id}.png"
    assert (image_folder / path).read_bytes() == b"bytes"


def test_store__replaces_what_an_earlier_attempt_left(make_generation, image_folder):
    generation = make_generation()

    first, second = images.store(generation, b"first"), images.store(generation, b"second")

    assert first == second
    assert (image_folder / second).read_bytes() == b"second"


def test_image__comes_with_type_length_etag_and_caching(api, make_completed):
    bytes_ = png()
    generation = make_completed(bytes_)

    answer = api.get(URL.format(generation.id))

    assert answer.getvalue() == bytes_
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Length"] == str(len(bytes_))
    assert answer["ETag"] == f'"{generation.id}"'
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


def test_image__tells_its_length_without_being_sent(api, make_completed):
    generation = make_completed(png())

    answer = api.head(URL.format(generation.id))

    assert (answer.status_code, answer.getvalue()) == (200, b"")
    assert answer["Content-Length"] == str(len(png()))


@pytest.mark.parametrize("sent", ['"{id}"', 'W/"{id}"', '"other", "{id}"', "*"])
def test_image__is_not_sent_again_to_who_has_it(api, make_completed, sent):
    generation = make_completed(png())

    answer = api.get(URL.format(generation.id), headers={"If-None-Match": sent.format(id=generation.id)})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == f'"{generation.id}"'
    assert "immutable" in answer["Cache-Control"]


def test_image__is_sent_to_who_has_another(api, make_completed):
    generation = make_completed(png())

    answer = api.get(URL.format(generation.id), headers={"If-None-Match": '"other"'})

    assert (answer.status_code, answer.getvalue()) == (200, png())


@pytest.mark.parametrize(
    ("end", "said"), [("pending", "yet"), ("processing", "yet"), ("failed", "no image"), ("cancelled", "no image")]
)
def test_image__is_a_404_until_there_is_one(api, make_generation, end, said):
    generation = make_generation()
    {
        "pending": lambda: None,
        "processing": generation.start,
        "failed": lambda: generation.fail(generation.start(), "no"),
        "cancelled": generation.cancel,
    }[end]()

    answer = api.get(URL.format(generation.id))

    assert answer.status_code == 404
    assert said in answer.json()["detail"]


def test_image__that_vanished_is_a_404_and_logged(api, make_completed, caplog):
    generation = make_completed(png())
    default_storage.delete(generation.image_path)

    answer = api.get(URL.format(generation.id))

    assert answer.status_code == 404
    assert f"The image of generation {generation.id} is missing" in caplog.text


def test_image__is_a_404_to_who_claims_to_have_it_already(api, make_generation):
    answer = api.get(URL.format(make_generation().id), headers={"If-None-Match": "*"})

    assert answer.status_code == 404
