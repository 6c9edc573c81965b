"""Removes for good what has been kept as long as RETENTION_FINISHED and RETENTION_DELETED say."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction

from generations.images import files as images
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from lockngen.database import retry

logger = logging.getLogger(__name__)

BATCH = 200  # generations in one transaction


@dataclass
class Tally:
    """What was removed so far, or would be."""

    generations: int = 0
    files: int = 0
    bytes: int = 0
    failures: int = 0  # files that the storage would not remove; they are tried again by the next purge


def expired() -> list[GenerationQuerySet]:
    """What is to go, each by an index of its own. A deleted generation goes by whichever comes first."""
    rows = Generation.all_objects.only("status", *images.COLUMNS)
    finished, deleted = settings.RETENTION_FINISHED, settings.RETENTION_DELETED
    return [
        *([rows.deleted_for(days=deleted).order_by("deleted_at")] if deleted else []),
        *([rows.finished_for(days=finished).order_by("completed_at")] if finished else []),
    ]


def purge(size: int = BATCH) -> Iterator[Tally]:
    """Remove what is expired, `size` at once, and tell after each time how much it is by then.

    Whoever iterates may stop at any time, and may be killed. Two at once share the work.
    """
    tally = Tally()
    for files in _pending_batches(size):
        _remove(files, tally)
        yield tally
    for rows in expired():
        while batch := _delete_batch(rows, size):
            tally.generations += len(batch.generations)
            removed = _remove(batch.files, tally)
            yield tally
            if batch.files and not removed:
                return  # the storage is away: the rest can wait for it


def survey(size: int = BATCH) -> Iterator[Tally]:
    """Tell what a purge would remove, without removing it."""
    tally = Tally()
    for path in PendingDeletion.objects.values_list("path", flat=True).iterator(size):
        _count(path, tally)
    for number, generation in enumerate(reduce(or_, expired(), Generation.all_objects.none()).iterator(size), 1):
        tally.generations += 1
        for path in images.paths(generation):
            _count(path, tally)
        if number % size == 0:
            yield tally
    yield tally


@dataclass
class Batch:
    generations: list[Generation]
    files: list[PendingDeletion]

    def __bool__(self) -> bool:
        return bool(self.generations)


@retry.idempotent  # a try that was committed after all has only taken the batch before
def _delete_batch(rows: GenerationQuerySet, size: int) -> Batch:
    """Remove some rows, and name their files in the same transaction. Removing a file can't be undone, nor can it be
    part of a transaction; so it comes after.
    """
    with transaction.atomic():
        # What another purge holds is its own; what somebody restores at this moment is looked at once that is done.
        generations = list(rows.select_for_update(skip_locked=True)[:size])
        files = [PendingDeletion(path=path) for generation in generations for path in images.paths(generation)]
        PendingDeletion.objects.bulk_create(files)
        Generation.all_objects.filter(pk__in=[generation.pk for generation in generations]).hard_delete()
    return Batch(generations, files)


def _pending_batches(size: int) -> Iterator[list[PendingDeletion]]:
    """What earlier purges named and did not come to remove."""
    last = 0
    while files := _pending_after(last, size):
        yield files
        last = files[-1].pk


@retry.idempotent
def _pending_after(last: int, size: int) -> list[PendingDeletion]:
    return list(PendingDeletion.objects.filter(pk__gt=last).order_by("pk")[:size])


def _remove(files: list[PendingDeletion], tally: Tally) -> int:
    """Remove files, then their names, and return how many that were. One that is gone already is removed."""
    removed = []
    for file in files:
        try:
            size = images.size(file.path)
            default_storage.delete(file.path)
        except Exception as error:  # every storage has kinds of its own
            logger.warning("%s can't be removed now: %s", file.path, retry.one_line(error))
            tally.failures += 1
        else:
            tally.bytes += size
            removed.append(file.pk)
    tally.files += _delete_records(removed)
    return len(removed)


@retry.idempotent
def _delete_records(files: list[int]) -> int:
    return PendingDeletion.objects.filter(pk__in=files).delete()[0]


def _count(path: str, tally: Tally) -> None:
    tally.files += 1
    tally.bytes += images.size(path)
