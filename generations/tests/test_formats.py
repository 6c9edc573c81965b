import struct
import zlib
from base64 import b64decode
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generations.images import formats, limits
from generations.models import PLACEHOLDER_LENGTH
from generations.tests.support.encoded import PNG, encoded


def thumbnail(image: bytes) -> Image.Image:
    return Image.open(BytesIO(formats.read(image).thumbnail))


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_accepted_format__has_its_suffix(kind, suffix):
    formats.check(encoded(kind))

    assert formats.suffix(encoded(kind)) == suffix


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_format__is_refused(kind):
    with pytest.raises(formats.NotAccepted, match=f"its format is {kind}; only PNG, JPEG and WebP are accepted"):
        formats.check(encoded(kind))


@pytest.mark.parametrize("start", [b"\0\0\0\x20ftypavif", b"\x1aE\xdf\xa3", b"OggS", b"RIFF\0\0\0\0WAVE"])
def test_video_and_sound__are_refused_by_name(start):
    with pytest.raises(formats.NotAccepted, match="only PNG, JPEG and WebP are accepted"):
        formats.check(start + bytes(100))


def test_png_with_large_texts__is_accepted():
    texts = PngInfo()
    for number in range(70):
        texts.add_text(f"workflow{number}", "x" * 2**20, zip=True)
    texts.add_text("prompt", "x" * 2 * 2**20)

    assert formats.read(encoded("PNG", pnginfo=texts)).width == 64


def test_png_of_too_many_chunks__is_refused():
    with pytest.raises(formats.NotAccepted, match="more than 65536 chunks"):
        formats.check(PNG[:33] + b"\0\0\0\0IDAT\x35\xaf\x06\x1e" * 70_000 + PNG[33:])


def test_jpeg_of_many_scans__is_refused_before_it_is_decoded(monkeypatch):
    jpeg = encoded("JPEG", (4096, 4096), "L", 128, progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("It was decoded."))

    with pytest.raises(formats.NotAccepted, match="scans of 4096 x 4096 pixels"):
        formats.check(jpeg[:-2] + scan * 60 + jpeg[-2:])


def test_jpeg_of_usual_scans__is_accepted_at_the_largest_size(monkeypatch):
    monkeypatch.setattr(limits, "MAX_SCANNED", 10 * 64 * 64)

    formats.check(encoded("JPEG", progressive=True))


def test_large_image__has_a_thumbnail(monkeypatch):
    monkeypatch.setattr(formats, "LARGE", 64 * 64)

    for mode, colour in (("RGB", (10, 200, 30)), ("LA", (90, 128)), ("I;16", 0x8000)):
        read = formats.read(encoded("PNG", (1600, 800), mode, colour))
        assert (read.width, read.height) == (1600, 800)
        assert Image.open(BytesIO(read.thumbnail)).size == (384, 192)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_broken_image__is_refused(kind):
    whole = encoded(kind)

    for broken in (whole[: len(whole) // 2], whole[:20], b"", b"RIFF", b"<html>"):
        with pytest.raises(ValueError, match="the image can't be used"):
            formats.check(broken)


def test_large_image__is_refused_before_it_is_decoded(monkeypatch):
    large = encoded("JPEG", (72, 64))
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 64)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("It was decoded."))

    with pytest.raises(formats.NotAccepted, match="72 x 64 pixels"):
        formats.check(large)


@pytest.mark.parametrize("size", [(20000, 16), (12000, 12000), (2**31 - 1, 2**31 - 1)])
def test_size_in_the_header__is_refused(size):
    header = b"IHDR" + struct.pack(">II", *size) + PNG[24:29]
    png = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]

    with pytest.raises(formats.NotAccepted, match=f"it has {size[0]} x {size[1]} pixels"):
        formats.check(png)


def test_image_of_the_largest_size__is_accepted(monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 64)
    monkeypatch.setattr(limits, "MAX_SIDE", 64)
    monkeypatch.setattr(limits, "MAX_BYTES", len(PNG))

    formats.check(PNG)


def test_webp__is_limited_to_half_of_the_pixels(monkeypatch):
    webp = encoded("WEBP")
    monkeypatch.setattr(limits, "MAX_PIXELS", 2 * 64 * 64)
    formats.check(webp)
    monkeypatch.setattr(limits, "MAX_PIXELS", 2 * 64 * 64 - 2)

    with pytest.raises(formats.NotAccepted, match="64 x 64 pixels"):
        formats.check(webp)


def test_large_file__is_refused(monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", len(PNG) - 1)

    with pytest.raises(formats.NotAccepted, match="it is larger than"):
        formats.check(PNG)


@pytest.mark.parametrize(
    ("kind", "content_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_read__returns_the_facts_and_the_bytes(kind, content_type):
    image = encoded(kind, (80, 72))

    read = formats.read(image)

    assert (read.width, read.height, read.content_type) == (80, 72, content_type)
    assert (read.content, read.sha256) == (image, sha256(image).hexdigest())


def test_read__refuses_bytes_that_are_no_image():
    with pytest.raises(ValueError, match="the image can't be used"):
        formats.read(b"<html>")


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
def test_thumbnail__has_the_colours_of_the_png(mode, colour, options, expected):
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


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (3000, 20), (20, 3000)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_placeholder__is_a_tiny_image_of_the_same_proportions(size, mode):
    file = BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(file, "PNG")

    placeholder = formats.read(file.getvalue()).placeholder

    with Image.open(BytesIO(b64decode(placeholder))) as tiny:
        assert max(tiny.size) <= formats.PLACEHOLDER_PIXELS
    assert len(placeholder) <= PLACEHOLDER_LENGTH
