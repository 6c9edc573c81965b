"""Which kinds of images there are here, and whether some bytes are one of them."""

from io import BytesIO

from PIL import Image

MOST_BYTES = 64 * 1024 * 1024
MOST_PIXELS = 8192 * 8192  # 2048, the largest that can be asked for, four times enlarged

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
"""By the suffix of the file."""


def suffix(image: bytes) -> str:
    """The suffix for an image, by its first bytes."""
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "webp"
    return "png"


def check(image: bytes) -> None:
    """Raise ValueError where it isn't a whole PNG, JPEG or WebP of a size that can be handled."""
    try:
        # Opened, it tells its size; only load() decodes it, and finds out whether something is missing.
        with Image.open(BytesIO(image), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels")
            picture.load()
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise ValueError(f"it is no image that can be used: {error}") from error
