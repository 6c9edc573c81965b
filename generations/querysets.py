"""The vocabulary of Generation: which rows, how one comes to be, and the changes that concern many of them."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.db.models import Case, Exists, F, OuterRef, TextField, When
from django.db.models.functions import Cast, Coalesce, Now
from procrastinate.contrib.django import app as queue
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued
from uuid_utils.compat import uuid7

from generations.status import UNFINISHED, Status
from lockngen import retry
from lockngen.softdelete import SoftDeleteQuerySet

RENDER_TASK = "generations.render"
STRANDED_AFTER = timedelta(minutes=1)  # a generation that young is still on its way


class GenerationQuerySet(SoftDeleteQuerySet):
    def owned_by(self, api_key):
        return self.filter(api_key=api_key)

    def unfinished(self):
        return self.filter(status__in=UNFINISHED)

    def pending(self):
        return self.filter(status=Status.PENDING)

    def newest_first(self):
        """By id, which is a UUID of version 7 and so sorts by time."""
        return self.order_by("-id")

    def older_than(self, id: UUID):
        return self.filter(id__lt=id)

    def stranded(self):
        """Unfinished ones that no job will ever finish, such as those whose job was ended by hand."""
        lock = Cast(OuterRef("pk"), TextField())
        jobs = ProcrastinateJob.objects.filter(queueing_lock=lock, status__in=("todo", "doing"))
        return self.unfinished().filter(~Exists(jobs), created_at__lt=Now() - STRANDED_AFTER)

    def submit(self, **fields):
        """Store a pending generation together with its job: both are there afterwards, or neither is."""
        # Its id is chosen before the first try, so that a later one can tell whether that was committed.
        return self._submit(**{"id": uuid7(), **fields})

    @retry.unit_of_work(find=lambda self, id, **fields: self.model.all_objects.filter(pk=id).first())
    def _submit(self, **fields):
        generation = self.create(**fields)
        self._enqueue(generation.id)
        return generation

    def requeue(self) -> list[UUID]:
        """Give each a job and return their ids. One that has a waiting job keeps that."""
        ids = list(self.values_list("pk", flat=True))
        for id in ids:
            with suppress(AlreadyEnqueued):
                self._enqueue(id)
        return ids

    requeue.queryset_only = True

    def _enqueue(self, id: UUID) -> None:
        # The task is named, not imported: it imports the models.
        # The lock lets a generation have one waiting job and no more.
        job = queue.configure_task(RENDER_TASK, queue="render", queueing_lock=str(id))
        job.defer(generation_id=str(id))

    def cancel(self) -> int:
        """Cancel those that aren't finished and return how many that were."""
        return self.unfinished().update(status=Status.CANCELLED, completed_at=Now())

    cancel.alters_data = True
    cancel.queryset_only = True

    def delete(self) -> tuple[int, dict[str, int]]:
        """Hide the live rows. What isn't finished is cancelled in the same statement."""
        unfinished = When(status__in=UNFINISHED, then=Status.CANCELLED)
        return self._counted(
            self.live().update(
                status=Case(unfinished, default=F("status")),
                completed_at=Coalesce("completed_at", Now()),
                is_deleted=True,
                deleted_at=Now(),
            )
        )

    delete.alters_data = True
    delete.queryset_only = True
