"""The accepted image formats: validation, facts, conversion and thumbnails."""

import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from threading import Lock

from PIL import Image, ImageOps

from generations.images import limits, metadata
from generations.images.limits import NotAccepted
from lockngen.plain import plain

THUMBNAIL_PIXELS = 384  # maximum of the longer side
THUMBNAIL_QUALITY = 80  # of 100; a higher quality adds bytes without a visible difference at that size
PREVIEW_PIXELS, PREVIEW_QUALITY = 512, 60  # of a preview, which is replaced every second: a few kilobytes
MAX_PREVIEW_PIXELS = 2**22  # of what a renderer sends as a preview, which is decoded beside its renders
PLACEHOLDER_PIXELS, PLACEHOLDER_QUALITY = 16, 20  # shown until a thumbnail is loaded: about 100 bytes
DEFAULT_QUALITY = 90  # of a JPEG or WebP whose quality isn't requested
COMPRESSION = 3  # of a PNG, of 9; a higher one takes several times as long for a few percent
EFFORT, EFFORT_FOR_LARGE = 4, 2  # of a WebP, of 6; 2 takes a sixth of the time for an eighth more bytes

LARGE = 2**24  # pixels; larger images are decoded one at a time, as each takes up to 1 GB
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns; limits.check_size() runs before anything is decoded
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # one for each field of damaged EXIF
_one_large = Lock()

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
"""By the suffix of the file."""


@dataclass(frozen=True)
class RenderedImage:
    """An image, its stored size in pixels, a thumbnail of it as a WebP, and a much smaller one in base64."""

    content: bytes
    width: int
    height: int
    thumbnail: bytes
    placeholder: str = ""

    @property
    def suffix(self) -> str:
        return suffix(self.content)

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.suffix]

    @cached_property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Output:
    """How an image is stored. Without a format, its pixels and metadata are those that the renderer made."""

    format: str | None = None  # of OutputFormat
    quality: int | None = None
    keep_metadata: bool = True
    parameters: str = ""  # written into an image that has a format and keeps its metadata


AS_RENDERED = Output()


def read(image: bytes, output: Output = AS_RENDERED) -> RenderedImage:
    """Decode an image once, convert it to the output, and create its thumbnail. Raises like `check`."""
    with _decoded(image) as decoded:
        if output.format is None:
            content = image if output.keep_metadata else metadata.rewrite(image, keep=False)
        else:
            content, decoded = _converted(image, decoded, output)
        return RenderedImage(content, *decoded.size, *_reduced(decoded))


def preview(image: bytes) -> bytes:
    """A small WebP of a partially rendered image. Raises like `check`."""
    with _decoded(image, MAX_PREVIEW_PIXELS) as decoded:
        return _webp(_small(decoded, PREVIEW_PIXELS), PREVIEW_QUALITY)


def check(image: bytes) -> None:
    """Raise NotAccepted for another format or a size beyond the limits, ValueError for a broken PNG, JPEG or WebP."""
    with _decoded(image):
        pass


def suffix(image: bytes) -> str:
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "webp"
    return "png"


@contextmanager
def _decoded(image: bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    try:
        limits.check_file(image)
        # open() reads only the size; load() decodes the image and fails if it is incomplete.
        with Image.open(BytesIO(limits.without_metadata(image)), formats=("PNG", "JPEG", "WEBP")) as decoded:
            limits.check_size(*decoded.size, image, max_pixels)
            with _one_large if decoded.width * decoded.height > LARGE else nullcontext():
                decoded.load()
                yield decoded
    except NotAccepted as error:
        raise NotAccepted(f"The image can't be used: {error}.") from None
    except Exception as error:  # Pillow's decoders raise many kinds of exceptions
        raise ValueError(f"the image can't be used: {plain(error, 200)}") from None


def _converted(image: bytes, decoded: Image.Image, output: Output) -> tuple[bytes, Image.Image]:
    """The image in the format of the output, and its pixels. They are encoded again only if that is necessary."""
    exif = b""
    if CONTENT_TYPES[suffix(image)] != f"image/{output.format}" or output.quality is not None:
        profile = metadata.png_profile(image) if image.startswith(limits.PNG) else decoded.info.get("icc_profile")
        ImageOps.exif_transpose(decoded, in_place=True)
        exif = decoded.info.get("exif", b"")
        decoded = _in_8_bit_colour(decoded)
        if output.format == "jpeg" and decoded.mode == "RGBA":
            decoded = _over_white(decoded)
        image = _encoded(decoded, output, profile if profile and profile[16:20] == b"RGB " else None)
    content = metadata.rewrite(image, keep=output.keep_metadata, parameters=output.parameters, exif=exif)
    if len(content) > limits.MAX_BYTES:
        raise NotAccepted(f"as {output.format} it is larger than {limits.MAX_BYTES // 2**20} MiB")
    return content, decoded


def _encoded(decoded: Image.Image, output: Output, profile: bytes | None) -> bytes:
    if output.format == "webp":
        limits.check_webp_size(*decoded.size)
    options = {
        "png": {"compress_level": COMPRESSION},
        "jpeg": {"quality": output.quality or DEFAULT_QUALITY},
        "webp": {
            "quality": output.quality or DEFAULT_QUALITY,
            "method": EFFORT_FOR_LARGE if decoded.width * decoded.height > LARGE else EFFORT,
        },
    }
    file = BytesIO()
    decoded.save(file, output.format, icc_profile=profile, exif=b"", **options[output.format])
    return file.getvalue()


def _over_white(decoded: Image.Image) -> Image.Image:
    white = Image.new("RGB", decoded.size, "white")
    white.paste(decoded, mask=decoded)
    return white


def _reduced(decoded: Image.Image) -> tuple[bytes, str]:
    """The thumbnail and the placeholder."""
    if decoded.width * decoded.height > LARGE or decoded.mode.startswith("I"):
        # The conversions below copy the image, so it is reduced first, which needs no copy.
        decoded.thumbnail((4 * THUMBNAIL_PIXELS, 4 * THUMBNAIL_PIXELS), Image.Resampling.NEAREST)
    small = _small(decoded, THUMBNAIL_PIXELS)
    thumbnail = _webp(small, THUMBNAIL_QUALITY)
    small.thumbnail((PLACEHOLDER_PIXELS, PLACEHOLDER_PIXELS))
    return thumbnail, b64encode(_webp(small, PLACEHOLDER_QUALITY)).decode()


def _small(decoded: Image.Image, pixels: int) -> Image.Image:
    small = _in_8_bit_colour(decoded)
    small.thumbnail((pixels, pixels), reducing_gap=2)  # never enlarges
    ImageOps.exif_transpose(small, in_place=True)
    return small


def _webp(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", quality=quality)
    return file.getvalue()


def _in_8_bit_colour(decoded: Image.Image) -> Image.Image:
    """Convert to a mode that WebP supports and that can be averaged, unlike the indices of a palette."""
    if decoded.mode.startswith("I"):  # grey in 16 bits, which convert() would clip at 255
        return decoded.point(lambda grey: grey / 257).convert("L").convert("RGB")
    mode = "RGBA" if decoded.has_transparency_data else "RGB"
    return decoded if decoded.mode == mode else decoded.convert(mode)  # avoids copying a large image
