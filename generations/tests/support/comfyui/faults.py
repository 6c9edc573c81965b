"""The faults of the double, its images and its previews."""

import json
import os
import signal
import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, PngImagePlugin

PREVIEW, PREVIEW_WITH_METADATA = 1, 4  # types of binary messages
JPEG = 1  # format of a preview
PREVIEW_SIZE, PREVIEW_COLOR = (512, 384), (255, 0, 0)


class NodeFailed(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass
class Faults:
    """The faults, by default none."""

    only: str = ""  # the text that a graph must contain to execute with faults
    seconds: float = 0.0  # duration of a prompt
    is_held: bool = False  # prompts stop at half of their steps until this is unset
    error: str = ""  # oom, node, or crash, which ends the process
    image: str = "png"  # or jpeg, webp, gif, bmp, garbage, cut, wide, large, none
    history_delay: float = 0.0  # seconds between execution_success and the history
    is_old: bool = False  # generates the ids of prompts itself, and interrupts any prompt
    sockets: str = "kept"  # or dropped after each progress, silent, mute before the handshake, or refused
    status: int = 0  # of the response to every call
    lacks: list[str] = field(default_factory=list)  # nodes and checkpoints that are missing
    loses_answers: bool = False  # accepts a prompt and closes the connection without a response


def fail(error: str) -> None:
    if error == "oom":
        message = "Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated: 7.5 GiB"
        raise NodeFailed("torch.cuda.OutOfMemoryError", message)
    if error == "node":
        raise NodeFailed("RuntimeError", "mat1 and mat2 shapes cannot be multiplied, see /opt/ComfyUI on gpu7.internal")
    if error == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


def image(graph: dict, kind: str) -> bytes:
    inputs = {name: value for node in graph.values() for name, value in node["inputs"].items()}
    color = f"#{inputs.get('color', inputs.get('seed', 0)) % 2**24:06x}"
    if kind == "garbage":
        return b"<html>no image</html>"
    file = BytesIO()
    size = inputs["width"], inputs["height"]
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("prompt", json.dumps(graph))  # as the real one's SaveImage does
    Image.new("RGB", size, color).save(
        file, kind if kind in ("jpeg", "webp", "gif", "bmp") else "png", pnginfo=metadata
    )
    content = file.getvalue()
    changes = {"cut": lambda png: png[:-30], "large": lambda png: png + bytes(65 * 2**20), "wide": widened}
    return changes[kind](content) if kind in changes else content


def preview(metadata: dict | None) -> bytes:
    """The message of a preview, in the newer form if there are metadata."""
    file = BytesIO()
    Image.new("RGB", PREVIEW_SIZE, PREVIEW_COLOR).save(file, "jpeg")
    if metadata is None:
        return struct.pack(">II", PREVIEW, JPEG) + file.getvalue()
    text = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(text)) + text + file.getvalue()


def widened(png: bytes) -> bytes:
    """The PNG with 9000 x 9000 pixels in its header."""
    header = b"IHDR" + struct.pack(">II", 9000, 9000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
