"""The metadata of an image: the parameters added, or everything removed. The encoded pixels are copied.

Removing keeps what determines how the image is displayed: the colour profile and the orientation.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from generations.images import limits

KEYWORD = b"parameters\0"  # of the text chunk in a PNG
PNG_TEXTS = {b"tEXt", b"iTXt", b"zTXt"}
MAX_EXIF = 65_000  # bytes; a segment of a JPEG has at most 65,535
MAX_PROFILE = 4 * 2**20  # bytes; profiles for print have up to 3 MB

# Chunks of a PNG that describe its pixels, including those of an animation.
PNG_DISPLAYED = limits.NEEDED_CHUNKS - {b"eXIf"} | {
    *(b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"mDCV", b"cLLI", b"bKGD", b"pHYs"),
    *(b"acTL", b"fcTL", b"fdAT"),
}
WEBP_DISPLAYED = {b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
WEBP_HAS_ALPHA, WEBP_HAS_EXIF, WEBP_HAS_XMP = 0x10, 0x08, 0x04
JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # other bytes after FF are a scan's data
SOI, EOI, SOS, COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF  # APP14 has the colour space
EXIF = b"Exif\0\0"
T = TypeVar("T")


def rewrite(image: bytes, *, keep: bool, parameters: str = "", exif: bytes = b"") -> bytes:
    """The image with its metadata and the parameters, or without metadata.

    `exif` is added to an image that has none. Parameters that the image has already are kept.
    """
    if image.startswith(limits.PNG):
        return _png(image, keep, parameters, exif)
    return (_jpeg if image.startswith(limits.JPEG) else _webp)(image, keep, parameters, exif)


def png_profile(png: bytes) -> bytes | None:
    for kind, chunk in limits.chunks(png):
        if kind == b"iCCP":
            _, _, compressed = bytes(chunk[8:-4]).partition(b"\0")
            inflater = zlib.decompressobj()
            with suppress(zlib.error):
                profile = inflater.decompress(compressed[1:], MAX_PROFILE)
                return profile if inflater.eof else None
    return None


def _png(png: bytes, keep: bool, parameters: str, exif: bytes) -> bytes:
    chunks = list(limits.chunks(png))
    has_parameters = any(chunk[8 : 8 + len(KEYWORD)] == KEYWORD for kind, chunk in chunks if kind in PNG_TEXTS)
    exif = next((bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"eXIf"), exif)
    added = PngInfo()
    if keep and parameters and not has_parameters:
        added.add_text(KEYWORD[:-1], parameters)  # tEXt, or iTXt where Latin-1 isn't enough
    if exif := (exif if keep else _orientation_alone(exif)):
        added.add(b"eXIf", exif.removeprefix(EXIF))
    kept = [chunk for kind, chunk in chunks if kind != b"eXIf" and (keep or kind in PNG_DISPLAYED)]
    return limits.PNG + b"".join([kept[0], *(_png_chunk(kind, data) for kind, data, *_ in added.chunks), *kept[1:]])


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg(jpeg: bytes, keep: bool, parameters: str, exif: bytes) -> bytes:
    segments = _listed(_segments(jpeg))
    exif = next((data[4:] for kind, data in segments if _is_exif(kind, data)), exif)
    kept = [data for kind, data in segments if not _is_exif(kind, data) and (keep or _is_displayed(kind, data))]
    if exif := _exif(exif, keep, parameters):
        exif = EXIF + exif.removeprefix(EXIF)
        # After JFIF's segment, which has to be the first.
        kept.insert(2 if kept[1][1] == APP0 else 1, struct.pack(">BBH", 0xFF, APP1, len(exif) + 2) + exif)
    return b"".join(kept)


def _listed(parts: Iterator[T]) -> list[T]:
    listed = list(islice(parts, limits.MAX_CHUNKS + 1))
    if len(listed) > limits.MAX_CHUNKS:
        raise limits.NotAccepted(f"it has more than {limits.MAX_CHUNKS} segments")
    return listed


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments up to the end of the image, each with its marker. A scan's data is part of its segment."""
    at = 0
    while found := JPEG_MARKER.search(jpeg, at):
        kind, end = found[1][0], found.end()
        if kind not in (SOI, EOI):
            end += struct.unpack_from(">H", jpeg, end)[0]
        if kind == SOS:
            following = JPEG_MARKER.search(jpeg, end)
            end = following.start() if following else len(jpeg)
        yield kind, jpeg[found.start() : end]
        if kind == EOI:
            return
        at = end


def _is_exif(kind: int, segment: bytes) -> bool:
    return kind == APP1 and segment.startswith(EXIF, 4)


def _is_displayed(kind: int, segment: bytes) -> bool:
    if APP0 <= kind <= APP15:
        is_jfif, is_profile = segment.startswith(b"JFIF\0", 4), segment.startswith(b"ICC_PROFILE\0", 4)
        return kind == APP14 or (kind == APP0 and is_jfif) or (kind == APP2 and is_profile)
    return kind != COMMENT


def _webp(webp: bytes, keep: bool, parameters: str, exif: bytes) -> bytes:
    chunks = _listed(_webp_chunks(webp))
    exif = next((data for kind, data in chunks if kind == b"EXIF"), exif)
    exif = _exif(exif, keep, parameters)
    kept = [(kind, data) for kind, data in chunks if kind != b"EXIF" and (keep or kind in WEBP_DISPLAYED)]
    if kept[0][0] != b"VP8X":
        if not exif:
            return _joined(kept)
        kept.insert(0, (b"VP8X", _extended_header(*kept[0])))
    header = bytearray(kept[0][1])
    header[0] &= ~WEBP_HAS_EXIF & (0xFF if keep else ~WEBP_HAS_XMP)
    if exif:
        header[0] |= WEBP_HAS_EXIF
        is_xmp_last = kept[-1][0] == b"XMP "
        kept.insert(len(kept) - is_xmp_last, (b"EXIF", exif.removeprefix(EXIF)))
    return _joined([(b"VP8X", bytes(header)), *kept[1:]])


def _webp_chunks(webp: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, end = 12, min(len(webp), 8 + struct.unpack_from("<I", webp, 4)[0])
    while at + 8 <= end:
        kind, (length,) = webp[at : at + 4], struct.unpack_from("<I", webp, at + 4)
        yield kind, webp[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _extended_header(kind: bytes, data: bytes) -> bytes:
    """The header that a WebP with metadata needs, from the frame of one that has none."""
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 1)
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, WEBP_HAS_ALPHA if bits >> 28 & 1 else 0
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
        width, height, flags = width - 1, height - 1, 0
    return struct.pack("<I", flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _exif(exif: bytes, keep: bool, parameters: str) -> bytes:
    """EXIF with the parameters, the orientation alone, or nothing."""
    if not keep:
        return _orientation_alone(exif)
    if not parameters:
        return exif
    # As AUTOMATIC1111 writes it.
    comment = {ExifTags.Base.UserComment: b"UNICODE\0" + parameters.encode("utf-16-be", "replace")}
    with suppress(Exception):  # Pillow raises many kinds of exceptions for bytes that aren't EXIF
        loaded = _loaded(exif)
        fields = loaded.get_ifd(ExifTags.IFD.Exif)
        loaded[ExifTags.IFD.Exif] = comment | fields
        if len(joined := loaded.tobytes()) <= MAX_EXIF:
            return joined
    made = _loaded(_orientation_alone(exif))
    made[ExifTags.IFD.Exif] = comment
    return made.tobytes()


def _orientation_alone(exif: bytes) -> bytes:
    made = Image.Exif()
    with suppress(Exception):
        orientation = _loaded(exif).get(ExifTags.Base.Orientation)
        if orientation in range(2, 9):
            made[ExifTags.Base.Orientation] = orientation
            return made.tobytes()
    return b""


def _loaded(exif: bytes) -> Image.Exif:
    loaded = Image.Exif()
    if exif:
        loaded.load(exif)
    return loaded
