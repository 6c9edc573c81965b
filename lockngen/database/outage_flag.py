"""A flag in shared memory: one of the web processes on this machine has detected that the database is unavailable.

gunicorn's master imports this module before it forks, so its workers share the byte. Other processes have their own.
"""

import mmap

_byte = mmap.mmap(-1, 1)


def is_set() -> bool:
    return _byte[0] != 0


def set_to(value: bool) -> None:
    _byte[0] = value
