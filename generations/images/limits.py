"""Limits on the cost of decoding an image, checked before it is decoded."""

import struct
from collections.abc import Iterator

MAX_BYTES = 64 * 1024 * 1024
MAX_SIDE = 16_384  # pixels
MAX_WEBP_SIDE = 16_383  # of the format
MAX_PIXELS = 8192 * 8192  # the largest size that can be requested, 2048, four times enlarged
MAX_SCANNED = 2**30  # pixels times scans of a progressive JPEG: each scan visits all pixels; ten are usual
MAX_CHUNKS = 65_536  # of a PNG; with the usual 8 KiB in each, the largest file has 8,192

PNG, JPEG, START_OF_SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xda"
NEEDED_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
OTHER_FORMATS = {  # by the bytes at an offset
    (0, b"GIF8"): "GIF",
    (0, b"BM"): "BMP",
    (0, b"II*\0"): "TIFF",
    (0, b"MM\0*"): "TIFF",
    (0, b"\x1aE\xdf\xa3"): "WebM",
    (0, b"OggS"): "Ogg",
    (0, b"ID3"): "MP3",
    (0, b"fLaC"): "FLAC",
    (0, b"v/1\x01"): "EXR",
    (0, b"\xff\n"): "JPEG XL",
    (4, b"JXL "): "JPEG XL",
    (4, b"ftyp"): "MP4, AVIF or HEIC",
    (8, b"AVI "): "AVI",
    (8, b"WAVE"): "WAV",
}


class NotAccepted(ValueError):
    """The image exceeds a limit or has another format, as another render of it would too."""


def check_file(image: bytes) -> None:
    if len(image) > MAX_BYTES:
        raise NotAccepted(f"it is larger than {MAX_BYTES // 2**20} MiB")
    for (offset, magic), name in OTHER_FORMATS.items():
        if image.startswith(magic, offset):
            raise NotAccepted(f"its format is {name}; only PNG, JPEG and WebP are accepted")


def check_size(width: int, height: int, image: bytes, max_pixels: int | None = None) -> None:
    max_pixels = max_pixels or MAX_PIXELS
    if max(width, height) > MAX_SIDE:
        raise NotAccepted(f"it has {width} x {height} pixels; sides up to {MAX_SIDE} are accepted")
    if image.startswith(b"RIFF"):
        check_webp_size(width, height)
    if width * height > max_pixels:
        raise NotAccepted(f"it has {width} x {height} pixels; up to {max_pixels} in all are accepted")
    if image.startswith(JPEG):
        scans = image.count(START_OF_SCAN)
        if scans * width * height > MAX_SCANNED * max_pixels // MAX_PIXELS:
            raise NotAccepted(f"it has {scans} scans of {width} x {height} pixels, which take too long to decode")


def check_webp_size(width: int, height: int) -> None:
    """WebP takes more memory than other formats: decoding four times as much, encoding twice as much."""
    most = MAX_PIXELS // 2
    if max(width, height) > MAX_WEBP_SIDE or width * height > most:
        raise NotAccepted(
            f"it has {width} x {height} pixels; a WebP of up to {most}, and {MAX_WEBP_SIDE} on a side, is accepted"
        )


def without_metadata(image: bytes) -> bytes:
    """Reduce a PNG to its pixel data, as embedded workflows exceed the decoder's limits. Other formats are kept."""
    if not image.startswith(PNG):
        return image
    return PNG + b"".join(chunk for kind, chunk in chunks(image) if kind in NEEDED_CHUNKS)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, view = len(PNG), memoryview(png)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(png):
            return
        (length,), kind = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        yield kind, view[at : at + length + 12]
        at += length + 12
        if kind == b"IEND":
            return
    raise NotAccepted(f"it has more than {MAX_CHUNKS} chunks")
