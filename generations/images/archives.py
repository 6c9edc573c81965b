"""Images as one zip file, which is made while it is sent."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import RawIOBase
from zipfile import ZipFile, ZipInfo

from django.core.files.storage import default_storage
from django.http import StreamingHttpResponse

from lockngen.web.handler import CHUNK
from lockngen.web.slots import Slot, SlotHolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A file of the storage, and its name and time in the archive."""

    path: str
    name: str
    time: datetime


class ArchiveResponse(SlotHolder, StreamingHttpResponse):
    def __init__(self, entries: Iterable[Entry], name: str, slot: Slot):
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
        super().__init__(chunks(entries), content_type="application/zip", headers=headers)
        self.slot = slot


class _Buffer(RawIOBase):
    """What was written since the last `take`. It can't seek, so the sizes of a file follow its content."""

    def __init__(self):
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:
        self._parts.append(bytes(content))
        return len(content)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def chunks(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive. Images are compressed already, so they are stored as they are. A missing file is left out."""
    buffer = _Buffer()
    with ZipFile(buffer, "w") as archive:
        for entry in entries:
            try:
                file = default_storage.open(entry.path)
            except FileNotFoundError:
                logger.exception("The image %s is missing from the storage.", entry.path)
                continue
            with file, archive.open(ZipInfo(entry.name, entry.time.timetuple()[:6]), "w") as member:
                while content := file.read(CHUNK):
                    member.write(content)
                    yield buffer.take()
    yield buffer.take()
