"""Hard-deletes generations and their files after RETENTION_FINISHED or RETENTION_DELETED, and old webhooks."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction

from generations.images import files as image_files
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from generations.webhooks.models import WebhookDelivery, WebhookDeliveryQuerySet
from lockngen.database import retry
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

BATCH = 200  # generations in one transaction


@dataclass
class Tally:
    """Counts of what was removed, or would be removed."""

    generations: int = 0
    webhooks: int = 0
    files: int = 0
    bytes: int = 0
    failures: int = 0  # files that could not be removed; the next purge retries them


def expired() -> list[GenerationQuerySet]:
    """Expired generations: those deleted long ago and those finished long ago. Each query uses its own index.

    A generation that is in both is removed by the earlier expiry.
    """
    rows = Generation.all_objects.only("status", *image_files.COLUMNS)
    finished, deleted = settings.RETENTION_FINISHED, settings.RETENTION_DELETED
    return [
        *([rows.deleted_for(days=deleted).order_by("deleted_at")] if deleted else []),
        *([rows.finished_for(days=finished).order_by("completed_at")] if finished else []),
    ]


def expired_webhooks() -> WebhookDeliveryQuerySet:
    """Deliveries that ended long ago. Those of a removed generation are removed with it."""
    days = settings.RETENTION_WEBHOOKS
    return WebhookDelivery.objects.ended_for(days=days) if days else WebhookDelivery.objects.none()


def purge(size: int = BATCH) -> Iterator[Tally]:
    """Remove expired generations in batches of `size`, and yield the tally after each batch.

    It can be stopped or killed at any time. Concurrent purges share the work.
    """
    tally, last = Tally(), 0
    while files := _recorded(last, size):  # by earlier purges, which did not remove them
        _remove(files, tally)
        yield tally
        last = files[-1].pk
    while count := _delete_webhooks(size):
        tally.webhooks += count
        yield tally
    for rows in expired():
        while batch := _delete_batch(rows, size):
            count, files = batch
            tally.generations += count
            removed = _remove(files, tally)
            yield tally
            if files and not removed:
                return  # the storage is unavailable: leave the rest to the next purge


def survey(size: int = BATCH) -> Iterator[Tally]:
    """Yield the tally of what a purge would remove, without removing it."""
    tally = Tally(webhooks=expired_webhooks().count())
    for path in PendingDeletion.objects.values_list("path", flat=True).iterator(size):
        _count(path, tally)
    for number, generation in enumerate(reduce(or_, expired(), Generation.all_objects.none()).iterator(size), 1):
        tally.generations += 1
        for path in image_files.paths(generation):
            _count(path, tally)
        if number % size == 0:
            yield tally
    yield tally


@retry.idempotent
def _recorded(after: int, size: int) -> list[PendingDeletion]:
    return list(PendingDeletion.objects.filter(pk__gt=after).order_by("pk")[:size])


@retry.idempotent
def _delete_webhooks(size: int) -> int:
    ids = expired_webhooks().order_by("ended_at").values_list("pk", flat=True)[:size]
    return WebhookDelivery.objects.filter(pk__in=list(ids)).delete()[0]


@retry.idempotent  # if an attempt was committed after all, the next one deletes the next batch
def _delete_batch(rows: GenerationQuerySet, size: int) -> tuple[int, list[PendingDeletion]] | None:
    """Delete rows and record their files in one transaction; return their number and the files, or None at the end.

    The files are removed after it, as that can't be rolled back.
    """
    with transaction.atomic():
        # Rows that another purge or a restore has locked are skipped.
        generations = list(rows.select_for_update(skip_locked=True)[:size])
        files = [PendingDeletion(path=path) for generation in generations for path in image_files.paths(generation)]
        PendingDeletion.objects.bulk_create(files)
        Generation.all_objects.filter(pk__in=[generation.pk for generation in generations]).hard_delete()
    return (len(generations), files) if generations else None


def _remove(files: list[PendingDeletion], tally: Tally) -> int:
    """Remove files, then their records, and return the number. A missing file counts as removed."""
    removed = []
    for file in files:
        try:
            size = image_files.size(file.path)
            default_storage.delete(file.path)
        except Exception as error:  # storages raise exceptions of their own
            logger.warning("%s can't be removed now: %s", file.path, one_line(error))
            tally.failures += 1
        else:
            tally.bytes += size
            removed.append(file.pk)
    records = PendingDeletion.objects.filter(pk__in=removed)
    tally.files += retry.idempotent(records.delete)()[0]
    return len(removed)


def _count(path: str, tally: Tally) -> None:
    tally.files += 1
    tally.bytes += image_files.size(path)
