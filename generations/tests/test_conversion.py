"""Images in the format and quality that were requested."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from generations.images import formats, limits
from generations.images.formats import Output
from generations.tests.support.encoded import PNG, encoded
from generations.tests.test_metadata import KINDS, PROFILE, SECRET, TEXT, comment, exif, opened, with_everything

MODES = {"PNG": ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"], "JPEG": ["RGB", "L", "CMYK"], "WEBP": ["RGB", "RGBA"]}


def stored(image: bytes, format: str | None, **fields) -> bytes:
    return formats.read(image, Output(format, **fields)).content


@KINDS
def test_without_a_format__the_image_is_the_renderers(kind):
    image = with_everything(kind, 6)

    assert stored(image, None, parameters=TEXT) == image


@pytest.mark.parametrize(("kind", "format"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_same_format__is_not_encoded_again(kind, format, monkeypatch):
    monkeypatch.setattr(formats, "_encoded", lambda *arguments: pytest.fail("It was encoded again."))
    image = with_everything(kind)

    converted = stored(image, format, parameters=TEXT)

    assert opened(converted).tobytes() == opened(image).tobytes()
    assert (opened(converted).info["parameters"] if kind == "PNG" else comment(converted)) == TEXT


@KINDS
@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality__determines_the_size(kind, format):
    noise = BytesIO()
    Image.effect_noise((128, 128), 60).convert("RGB").save(noise, kind)

    small, large = (len(stored(noise.getvalue(), format, quality=quality)) for quality in (10, 95))

    assert small < large / 2


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_every_mode__is_converted_to_every_format(data):
    kind = data.draw(st.sampled_from(list(MODES)))
    mode = data.draw(st.sampled_from(MODES[kind]))
    size = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    grey = data.draw(st.integers(0, 255))
    format = data.draw(st.sampled_from(["png", "jpeg", "webp", None]))
    quality = data.draw(st.none() | st.integers(1, 100)) if format in ("jpeg", "webp") else None
    keep = data.draw(st.booleans())
    orientation = data.draw(st.none() | st.integers(1, 8))
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
    colour = {"I;16": grey * 257, "1": grey > 127, "CMYK": (0, 0, 0, 255 - grey)}.get(mode, grey)
    colour = (grey,) * (len(mode) - 1) + (255,) if mode in ("RGBA", "LA") else colour
    colour = (grey,) * 3 if mode == "RGB" else colour
    image = encoded(kind, size, mode, colour, **({"exif": exif(orientation)} if orientation else {}))

    rendered = formats.read(image, Output(format, quality, keep, text))

    shown = opened(rendered.content)
    assert rendered.content_type == f"image/{format or kind.lower()}" == Image.MIME[shown.format]
    assert (rendered.width, rendered.height) == shown.size
    assert rendered.sha256 == formats.read(rendered.content).sha256
    assert (SECRET in rendered.content) == (keep and orientation is not None)
    upright = opened(formats.read(image).thumbnail)
    assert opened(rendered.thumbnail).size == upright.size
    if format and keep:
        assert (shown.info.get("parameters") if format == "png" else comment(rendered.content)) == text
    if mode != "P":
        middle = opened(rendered.thumbnail).convert("RGB").getpixel((0, 0))
        expected = (255 if grey > 127 else 0) if mode == "1" else grey
        assert all(abs(channel - expected) <= 12 for channel in middle), (middle, expected)


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (10, 20, 30, 0)), ("LA", (10, 0))])
def test_transparent_pixels__are_white_in_a_jpeg(mode, colour):
    rendered = formats.read(encoded("PNG", (64, 64), mode, colour), Output("jpeg"))

    assert opened(rendered.content).getpixel((9, 9)) == (255, 255, 255)
    assert opened(rendered.thumbnail).convert("RGBA").getpixel((9, 9)) == (255, 255, 255, 255)


def test_transparent_palette__is_white_in_a_jpeg_and_transparent_in_a_webp():
    png = encoded("PNG", (64, 64), "P", 0, transparency=0)

    assert opened(stored(png, "jpeg")).getpixel((9, 9)) == (255, 255, 255)
    assert opened(stored(png, "webp")).getpixel((9, 9))[3] == 0


def test_grey_in_16_bits__keeps_its_brightness():
    assert opened(stored(encoded("PNG", (64, 64), "I;16", 0x8000), "jpeg")).getpixel((9, 9)) == (127, 127, 127)


@pytest.mark.parametrize("format", ["png", "webp"])
def test_rotated_image__is_converted_upright(format):
    sideways = Image.new("RGB", (96, 64), "red")
    sideways.paste("blue", (0, 0, 48, 64))  # its left half, and the upper one once it stands
    file = BytesIO()
    sideways.save(file, "JPEG", exif=exif(orientation=6), quality=95)

    rendered = formats.read(file.getvalue(), Output(format))

    assert (rendered.width, rendered.height) == (64, 96)
    assert opened(rendered.content).getexif().get(0x0112) is None
    red, _, blue = opened(rendered.content).getpixel((32, 10))
    assert blue > 200 > 50 > red


@KINDS
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("keep", [True, False])
def test_colour_profile__is_kept(kind, format, keep):
    image = encoded(kind, icc_profile=PROFILE)

    assert opened(stored(image, format, keep_metadata=keep)).info["icc_profile"] == PROFILE


@pytest.mark.parametrize(("mode", "space"), [("CMYK", b"CMYK"), ("L", b"GRAY")])
def test_profile_of_other_colours__is_dropped_when_they_are_converted(mode, space):
    profile = PROFILE[:16] + space + PROFILE[20:]

    assert "icc_profile" not in opened(stored(encoded("JPEG", (64, 64), mode, icc_profile=profile), "png")).info


def test_conversion__opens_the_image_once(monkeypatch):
    png, opened, real = encoded("PNG", (64, 64), "RGBA", (1, 2, 3, 4)), [], Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **options: opened.append(a) or real(*a, **options))

    formats.read(png, Output("jpeg", parameters=TEXT))

    assert len(opened) == 1


def test_large_image__is_encoded_while_no_other_large_one_is_decoded(monkeypatch):
    monkeypatch.setattr(formats, "LARGE", 32 * 32)
    encode, was_locked = formats._encoded, []
    monkeypatch.setattr(formats, "_encoded", lambda *a: (was_locked.append(formats._one_large.locked()), encode(*a))[1])

    formats.read(PNG, Output("webp"))

    assert was_locked == [True]


def test_side_that_a_webp_cannot_have__is_refused():
    wide = encoded("PNG", (16_384, 1))

    assert opened(stored(wide, "jpeg")).size == (16_384, 1)
    with pytest.raises(formats.NotAccepted, match="16384 x 1 pixels; a WebP of up to 33554432, and 16383 on a side"):
        stored(wide, "webp")


def test_pixels_of_a_webp__are_limited_like_those_of_a_renderers_webp(monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 64)

    assert formats.read(PNG, Output("jpeg")).width == 64
    with pytest.raises(formats.NotAccepted, match="64 x 64 pixels"):
        stored(PNG, "webp")


def test_file_that_grows_beyond_the_limit__is_refused(monkeypatch):
    noise = BytesIO()
    Image.effect_noise((128, 128), 60).save(noise, "JPEG", quality=10)
    monkeypatch.setattr(limits, "MAX_BYTES", 2 * len(noise.getvalue()))

    with pytest.raises(formats.NotAccepted, match="as png it is larger than"):
        stored(noise.getvalue(), "png")
