"""Which kinds of images there are here, whether some bytes are one of them, and what is worth knowing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO

from PIL import Image, ImageOps

MOST_BYTES = 64 * 1024 * 1024
MOST_PIXELS = 8192 * 8192  # 2048, the largest that can be asked for, four times enlarged
THUMBNAIL_PIXELS = 384  # the longer side at most
THUMBNAIL_QUALITY = 80  # of 100; beyond it the bytes grow, and the eye sees no difference at that size

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
"""By the suffix of the file."""


@dataclass(frozen=True)
class Picture:
    """An image, its size in pixels as it is stored, and a thumbnail of it as a WebP."""

    content: bytes
    width: int
    height: int
    thumbnail: bytes

    @property
    def suffix(self) -> str:
        return suffix(self.content)

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.suffix]

    @cached_property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


def read(image: bytes) -> Picture:
    """Look at an image and make its thumbnail. Raises ValueError as `check` does."""
    with _decoded(image) as decoded:
        return Picture(image, decoded.width, decoded.height, _thumbnail(decoded))


def check(image: bytes) -> None:
    """Raise ValueError where it isn't a whole PNG, JPEG or WebP of a size that can be handled."""
    with _decoded(image):
        pass


def suffix(image: bytes) -> str:
    """The suffix for an image, by its first bytes."""
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "webp"
    return "png"


@contextmanager
def _decoded(image: bytes) -> Iterator[Image.Image]:
    try:
        # Opened, it tells its size; only load() decodes it, and finds out whether something is missing.
        with Image.open(BytesIO(image), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels")
            picture.load()
            yield picture
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise ValueError(f"it is no image that can be used: {error}") from error


def _thumbnail(picture: Image.Image) -> bytes:
    small = _in_8_bit_colour(picture)
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), reducing_gap=2)  # never enlarges
    webp = BytesIO()
    ImageOps.exif_transpose(small).save(webp, "WEBP", quality=THUMBNAIL_QUALITY)
    return webp.getvalue()


def _in_8_bit_colour(picture: Image.Image) -> Image.Image:
    """What a WebP can hold, and what can be reduced by averaging, which the indices of a palette can't."""
    if picture.mode.startswith("I"):  # grey in 16 bits, which a conversion would cut off at 255
        return picture.point(lambda grey: grey / 257).convert("L").convert("RGB")
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # a large one is not copied in vain
