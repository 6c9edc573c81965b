"""One byte that all web processes of a server share: one of them has found the database unavailable.

gunicorn's master imports this module before it forks. In other processes the byte is their own.
"""

import mmap

_byte = mmap.mmap(-1, 1)


def is_set() -> bool:
    return _byte[0] != 0


def set_to(value: bool) -> None:
    _byte[0] = value
