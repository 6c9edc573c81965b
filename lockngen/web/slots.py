"""Limits on the streams, waits and downloads that clients hold open at once."""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Self
from weakref import WeakSet


class Full(Exception):
    """The process has reached its limit."""


class HolderFull(Exception):
    """The holder has reached its limit in this process."""


class Slot:
    """One unit of the limits. It counts until it is released or garbage-collected.

    As a context manager it is released only if its block raises; otherwise the response that was made holds it.
    """

    def __init__(self, *sets: WeakSet):
        self._sets = sets
        for each in sets:
            each.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind:
            self.release()

    def release(self) -> None:
        for each in self._sets:
            each.discard(self)


class SlotHolder:
    """A response that holds a slot until it is closed."""

    slot: Slot | None = None

    def close(self) -> None:
        super().close()
        if self.slot:
            self.slot.release()


class Slots:
    """The slots of one process: at most `total()`, and at most `each()` for a holder, such as a key.

    They are counted by weak references, because a response may be discarded without being closed.
    """

    def __init__(self, total: Callable[[], int], each: Callable[[], int]):
        self.total, self.each = total, each
        self._lock = threading.Lock()
        self._all: WeakSet[Slot] = WeakSet()
        self._of: dict[Hashable, WeakSet[Slot]] = defaultdict(WeakSet)

    def take(self, holder: Hashable) -> Slot:
        """Raises Full and HolderFull."""
        with self._lock:
            if len(self._all) >= self.total():
                raise Full
            if len(self._of[holder]) >= self.each():
                raise HolderFull
            for idle in [each for each, slots in self._of.items() if not slots and each != holder]:
                del self._of[idle]
            return Slot(self._all, self._of[holder])
