from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image

from generations.renderers import picture
from generations.tests.encoded import encoded


def thumbnail(image: bytes) -> Image.Image:
    return Image.open(BytesIO(picture.read(image).thumbnail))


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


@pytest.mark.parametrize(
    ("kind", "content_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_read__tells_what_it_is_and_keeps_its_bytes(kind, content_type):
    image = encoded(kind, (80, 72))

    read = picture.read(image)

    assert (read.width, read.height, read.content_type) == (80, 72, content_type)
    assert (read.content, read.sha256) == (image, sha256(image).hexdigest())


def test_read__refuses_what_is_no_image():
    with pytest.raises(ValueError, match="no image that can be used"):
        picture.read(b"<html>")


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((1024, 1024), (384, 384)),
        ((2048, 1024), (384, 192)),
        ((64, 2048), (12, 384)),
        ((384, 384), (384, 384)),
        ((64, 128), (64, 128)),
        ((2048, 1), (384, 1)),
    ],
)
def test_thumbnail__is_a_webp_that_fits_and_is_never_enlarged(size, reduced):
    small = thumbnail(encoded("PNG", size))

    assert (small.format, small.size) == ("WEBP", reduced)


def assert_like(pixel: tuple, expected: tuple) -> None:
    assert len(pixel) == len(expected)
    assert all(abs(have - want) <= 4 for have, want in zip(pixel, expected, strict=True)), (pixel, expected)


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("RGB", (10, 200, 30), {}, (10, 200, 30)),
        ("RGBA", (10, 200, 30, 128), {}, (10, 200, 30, 128)),
        ("L", 90, {}, (90, 90, 90)),
        ("LA", (90, 128), {}, (90, 90, 90, 128)),
        ("1", 1, {}, (255, 255, 255)),
        ("P", 0, {}, (0, 0, 0)),
        ("P", 0, {"transparency": 0}, (0, 0, 0, 0)),
        ("I;16", 0x8000, {}, (127, 127, 127)),
    ],
)
def test_thumbnail__looks_like_a_png_of_every_kind(mode, colour, options, expected):
    assert_like(thumbnail(encoded("PNG", (800, 400), mode, colour, **options)).getpixel((9, 9)), expected)


def test_thumbnail__of_a_jpeg_for_print_is_in_the_colours_of_screens():
    assert_like(thumbnail(encoded("JPEG", (64, 64), "CMYK", (0, 0, 0, 0))).getpixel((9, 9)), (255, 255, 255))


def test_thumbnail__stands_upright():
    sideways = Image.new("RGB", (800, 400), "red")
    sideways.paste("blue", (0, 0, 400, 400))  # its left half, and the upper one once it stands
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    sideways.save(file, "JPEG", exif=exif)

    small = thumbnail(file.getvalue())

    assert small.size == (192, 384)
    assert_like(small.getpixel((90, 20)), (0, 0, 255))
    assert_like(small.getpixel((90, 360)), (255, 0, 0))
    assert 0x0112 not in small.getexif()  # or it would be turned once more
