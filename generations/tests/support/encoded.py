"""Small images as bytes."""

from io import BytesIO

from PIL import Image


def encoded(kind: str, size: tuple[int, int] = (64, 64), mode: str = "RGB", colour="teal", **options) -> bytes:
    file = BytesIO()
    Image.new(mode, size, colour).save(file, kind, **options)
    return file.getvalue()


PNG = encoded("PNG")
