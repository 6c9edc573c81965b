"""Where images are kept when no other storage is configured."""

import os
import tempfile
from pathlib import Path

from django.core.files.storage import FileSystemStorage


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are whole or absent, and on the disk once `save` returns.

    A file is written under another name, synced and renamed into place, so a process that is killed while writing
    leaves nothing that looks like an image. A second save of one name replaces the first: a render that is
    repeated after a crash does not leave two files.
    """

    def __init__(self, **options):
        super().__init__(**{"allow_overwrite": True, **options})

    def _save(self, name: str, content) -> str:
        path = Path(self.path(name))
        new_folders = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fchmod(file.fileno(), self.file_permissions_mode or 0o644)
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
        for folder in (path.parent, *(folder.parent for folder in new_folders)):
            _sync_folder(folder)
        return name


def _sync_folder(folder: Path) -> None:
    """A name is durable only once the folder that holds it is (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
