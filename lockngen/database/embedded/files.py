"""Lock files and atomic replacement of files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_private(path: Path) -> int:
    """Open or create a file with mode 0600. A file that root creates gets the folder's owner, who may use it next."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    status, folder = os.fstat(descriptor), path.parent.stat()
    if os.geteuid() == 0 == status.st_uid and status.st_nlink == 1:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def take_lock(path: Path, kind: int) -> int:
    """Lock the file until the descriptor is closed in this process and in those that inherit it."""
    descriptor = open_private(path)
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def try_lock(path: Path) -> int | None:
    """Take the exclusive lock, or return None if the file is locked."""
    with suppress(BlockingIOError):
        return take_lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return None


def drop_lock(descriptor: int | None) -> None:
    """Unlock as well as close: a forked child may still have the descriptor."""
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait for the exclusive lock and hold it."""
    descriptor = take_lock(path, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        drop_lock(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename and sync the folder, so that a power failure does not lose the new name."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
