"""The states of a generation: pending -> processing -> completed | failed | cancelled."""

from django.db.models import IntegerChoices


class Status(IntegerChoices):
    PENDING = 0
    PROCESSING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4


UNFINISHED = (Status.PENDING, Status.PROCESSING)
FINISHED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
NAMES = {status.value: status.name.lower() for status in Status}


class Stateful:
    """What follows from the `status` of a row."""

    __slots__ = ()

    @property
    def status_name(self) -> str:
        return NAMES[self.status]

    @property
    def is_unfinished(self) -> bool:
        return self.status in UNFINISHED
