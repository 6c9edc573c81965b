"""Images with their parameters, and without metadata: in both cases the encoded pixels are copied."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from generations.images import limits, metadata
from generations.tests.support.encoded import encoded

TEXT = "a café ☃\nSteps: 30, Sampler: Automatic, CFG scale: 7, Seed: 1, Size: 64x64, Model: sketch"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"a private note"


def opened(image: bytes) -> Image.Image:
    rendered = Image.open(BytesIO(image))
    rendered.load()
    return rendered


def comment(image: bytes) -> str | None:
    """The text where AUTOMATIC1111 reads it in a JPEG or WebP."""
    field = opened(image).getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    return field and field.removeprefix(b"UNICODE\0").decode("utf-16-be")


def exif(orientation: int | None = None, note: bytes = SECRET, comment: bytes | None = None) -> bytes:
    made = Image.Exif()
    made[ExifTags.Base.ImageDescription] = note.decode()
    if orientation:
        made[ExifTags.Base.Orientation] = orientation
    if comment:
        made[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: comment}
    return made.tobytes()


def with_everything(kind: str, orientation: int | None = None) -> bytes:
    """An image with every kind of metadata, and a colour profile."""
    options = {"exif": exif(orientation), "icc_profile": PROFILE, "xmp": b"<x:xmpmeta>" + SECRET}
    if kind == "PNG":
        texts = PngInfo()
        texts.add_text("workflow", SECRET.decode())
        texts.add_text("prompt", SECRET.decode(), zip=True)
        texts.add_itxt("note", "☃" + SECRET.decode())
        options = {"exif": exif(orientation), "icc_profile": PROFILE, "pnginfo": texts}
    if kind == "JPEG":
        options["comment"] = SECRET
    return encoded(kind, (72, 64), **options)


KINDS = pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])


@KINDS
def test_parameters__are_added_without_other_changes(kind):
    image = with_everything(kind, orientation=6)

    rewritten = metadata.rewrite(image, keep=True, parameters=TEXT)

    before, after = opened(image), opened(rewritten)
    assert (after.info["parameters"] if kind == "PNG" else comment(rewritten)) == TEXT
    assert after.tobytes() == before.tobytes()
    assert after.getexif()[ExifTags.Base.ImageDescription] == SECRET.decode()
    assert after.getexif()[ExifTags.Base.Orientation] == 6
    names = ("icc_profile", "workflow", "prompt", "note", "xmp", "comment")
    assert {name: after.info.get(name) for name in names} == {name: before.info.get(name) for name in names}


@KINDS
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_parameters__are_added_to_an_image_without_metadata(kind, mode, options):
    image = encoded(kind, (73, 61), "RGB" if kind == "JPEG" else mode, **options)

    rewritten = metadata.rewrite(image, keep=True, parameters=TEXT)

    after = opened(rewritten)
    assert (after.info["parameters"] if kind == "PNG" else comment(rewritten)) == TEXT
    assert (after.size, after.mode, after.tobytes()) == ((73, 61), opened(image).mode, opened(image).tobytes())


def test_parameters__in_latin_1_are_a_plain_text_chunk():
    png = metadata.rewrite(encoded("PNG"), keep=True, parameters="a café")

    assert b"tEXtparameters\0a caf\xe9" in png


@KINDS
def test_parameters__that_the_renderer_wrote_are_kept(kind):
    texts = PngInfo()
    texts.add_text("parameters", "its own")
    own = {"pnginfo": texts} if kind == "PNG" else {"exif": exif(comment=b"UNICODE\0" + "its own".encode("utf-16-be"))}

    image = metadata.rewrite(encoded(kind, **own), keep=True, parameters=TEXT)

    assert (opened(image).info["parameters"] if kind == "PNG" else comment(image)) == "its own"
    assert image.count(b"parameters\0") == (kind == "PNG")


@KINDS
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_stripped__has_the_pixels_the_profile_and_the_orientation(kind, orientation):
    image = with_everything(kind, orientation)

    stripped = metadata.rewrite(image, keep=False, parameters=TEXT)

    after = opened(stripped)
    assert dict(after.getexif()) == ({ExifTags.Base.Orientation: 6} if orientation == 6 else {})
    assert after.info["icc_profile"] == PROFILE
    assert after.tobytes() == opened(image).tobytes()
    assert b"Steps" not in stripped
    assert SECRET not in stripped
    assert zlib.compress(SECRET)[2:-4] not in stripped
    assert set(after.info) & {"workflow", "prompt", "note", "xmp", "comment", "photoshop"} == set()


@KINDS
def test_stripping__is_idempotent(kind):
    once = metadata.rewrite(with_everything(kind, 6), keep=False)

    assert metadata.rewrite(once, keep=False) == once


def test_data_after_the_image__is_removed():
    for kind in ("PNG", "JPEG", "WEBP"):
        assert SECRET not in metadata.rewrite(encoded(kind) + SECRET, keep=False)


def test_progressive_jpeg__keeps_its_scans_without_the_comments_between_them():
    jpeg = encoded("JPEG", (80, 64), progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    between = jpeg[:last] + b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET + jpeg[last:]

    stripped = metadata.rewrite(between, keep=False)

    assert stripped == jpeg
    assert opened(stripped).tobytes() == opened(between).tobytes()


def test_jpeg_for_print__keeps_the_segment_that_states_its_colours():
    jpeg = encoded("JPEG", (64, 64), "CMYK", (0, 200, 0, 0))

    assert opened(metadata.rewrite(jpeg, keep=False)).tobytes() == opened(jpeg).tobytes()


def test_animated_png_and_webp__keep_their_frames():
    for kind in ("PNG", "WEBP"):
        file = BytesIO()
        frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])

        assert opened(metadata.rewrite(file.getvalue(), keep=False)).n_frames == 3


@pytest.mark.parametrize("broken", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"II*\0" + bytes(70_000), b"?"])
def test_exif_that_cannot_be_read__is_replaced(broken):
    webp = metadata.rewrite(encoded("WEBP"), keep=True, exif=broken)

    for keep in (True, False):
        image = metadata.rewrite(webp, keep=keep, parameters=TEXT)
        assert comment(image) == (TEXT if keep else None)


def test_exif_that_is_too_large_for_a_segment__is_replaced():
    image = metadata.rewrite(encoded("JPEG"), keep=True, parameters=TEXT, exif=exif(note=b"x" * 70_000))

    assert comment(image) == TEXT
    assert b"xxx" not in image


def test_jpeg_of_fill_bytes__is_read_in_linear_time():
    jpeg = encoded("JPEG")

    filled = metadata.rewrite(jpeg[:2] + b"\xff" * 5_000_000 + jpeg[2:], keep=False)

    assert filled == jpeg


@pytest.mark.parametrize(
    ("kind", "part"), [("JPEG", b"\xff\xfe\0\2"), ("WEBP", b"note\0\0\0\0")], ids=["segments", "chunks"]
)
def test_too_many_parts__are_refused(kind, part):
    image = encoded(kind)
    at = 2 if kind == "JPEG" else 12
    many = image[:at] + part * 70_000 + image[at:]
    if kind == "WEBP":
        many = many[:4] + struct.pack("<I", len(many) - 8) + many[8:]

    with pytest.raises(limits.NotAccepted, match="more than 65536 segments"):
        metadata.rewrite(many, keep=False)


def test_profile_of_a_png__is_read_within_a_limit(monkeypatch):
    png = encoded("PNG", icc_profile=PROFILE)
    assert metadata.png_profile(png) == PROFILE
    assert metadata.png_profile(encoded("PNG")) is None

    monkeypatch.setattr(metadata, "MAX_PROFILE", 100)

    assert metadata.png_profile(png) is None


@pytest.mark.parametrize("data", [b"", b"name", b"name\0", b"name\0\0not compressed"])
def test_profile_that_is_broken__is_ignored(data):
    chunk = struct.pack(">I", len(data)) + b"iCCP" + data + struct.pack(">I", zlib.crc32(b"iCCP" + data))
    png = encoded("PNG")
    start = len(limits.PNG) + 25  # after the header

    assert metadata.png_profile(png[:start] + chunk + png[start:]) is None
