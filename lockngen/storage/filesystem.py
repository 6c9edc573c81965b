"""The default storage of images."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.core.files.storage import FileSystemStorage, Storage

PARTIAL = ".partial-"  # prefix of a file that is being written, or whose writing was interrupted


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are complete or absent, and on the disk once `save` returns.

    A file is written under another name, synced and renamed, so a process that is killed while writing leaves no
    incomplete image. Saving a file under an existing name replaces it: a render that is repeated after a crash does not
    leave two files.
    """

    def __init__(self, **options):
        super().__init__(**{"allow_overwrite": True, **options})

    def _save(self, name: str, content) -> str:
        path = Path(self.path(name))
        new_folders = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(new_folders):
            self._make_folder(folder)
        descriptor, partial = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fchmod(file.fileno(), self.file_permissions_mode or 0o600)
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
        for folder in (path.parent, *(folder.parent for folder in new_folders)):
            _sync_folder(folder)
        return name

    def _make_folder(self, folder: Path) -> None:
        # Another process may create it at the same time. The one that does sets its mode, regardless of the umask.
        with suppress(FileExistsError):
            mode = self.directory_permissions_mode or 0o700
            folder.mkdir(mode)
            folder.chmod(mode)

    def scan(self, folder: str) -> Iterator[tuple[str, bool]]:
        """The names in a folder, and whether each is a folder. Reads them one by one."""
        with suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
            for entry in entries:
                yield entry.name, entry.is_dir()


def walk(storage: Storage, folder: str) -> Iterator[str]:
    """The paths of all files in a folder and below, one by one."""
    for name, is_folder in storage.scan(folder):
        path = f"{folder}/{name}"
        if is_folder:
            yield from walk(storage, path)
        else:
            yield path


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, which syncing the files doesn't (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
