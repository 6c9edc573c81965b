from io import BytesIO

import pytest
from PIL import Image

from generations.renderers import picture


def encoded(kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_known_kind__passes_and_has_its_suffix(kind, suffix):
    picture.check(encoded(kind))

    assert picture.suffix(encoded(kind)) == suffix


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_kind__is_refused(kind):
    with pytest.raises(ValueError, match="no image that can be used"):
        picture.check(encoded(kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_broken_image__is_refused(kind):
    whole = encoded(kind)

    for broken in (whole[: len(whole) // 2], whole[:20], b"", b"RIFF", b"<html>"):
        with pytest.raises(ValueError, match="no image that can be used"):
            picture.check(broken)


def test_large_image__is_refused_before_it_is_decoded(monkeypatch):
    large = encoded("JPEG", (72, 64))
    monkeypatch.setattr(picture, "MOST_PIXELS", 64 * 64)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("It was decoded."))

    with pytest.raises(ValueError, match="72 x 64 pixels"):
        picture.check(large)


def test_image_of_the_largest_size__passes(monkeypatch):
    monkeypatch.setattr(picture, "MOST_PIXELS", 64 * 64)

    picture.check(encoded("PNG"))
