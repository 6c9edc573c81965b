"""Limits on what clients hold open at once: streams, waits and downloads."""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from weakref import WeakSet


class Full(Exception):
    """This process holds as many as it may."""


class HolderFull(Exception):
    """This holder has as many as it may have in this process."""


class Slot:
    """What a client holds, until it is released or discarded."""

    def __init__(self, *sets: WeakSet):
        self._sets = sets
        for each in sets:
            each.add(self)

    def release(self) -> None:
        for each in self._sets:
            each.discard(self)


class Slots:
    """Slots of one process, `total()` of them and `each()` for a holder, such as a key.

    Weak references count them: a response may be discarded without being closed.
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
