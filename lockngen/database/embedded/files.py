"""Files that locks hang on, and files that are whole or absent."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_private(path: Path) -> int:
    """A file for one user's eyes; what root makes belongs to the folder's owner, who may come next."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    status, folder = os.fstat(descriptor), path.parent.stat()
    if os.geteuid() == 0 == status.st_uid and status.st_nlink == 1:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def take_lock(path: Path, kind: int) -> int:
    """Lock the file for as long as the descriptor is open, here or in a program it is handed to."""
    descriptor = open_private(path)
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def try_lock(path: Path) -> int | None:
    """The exclusive lock if nobody holds one."""
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
    """Hold the exclusive lock, after waiting for it."""
    descriptor = take_lock(path, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        drop_lock(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename, and see it on disk: after a power failure, data must not lie behind a lost name."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
