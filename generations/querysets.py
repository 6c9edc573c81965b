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

from generations.status import FINISHED, UNFINISHED, Status
from generations.turns import Turn
from lockngen import retry
from lockngen.softdelete import SoftDeleteQuerySet

RENDER_TASK = "generations.render"
STRANDED_AFTER = timedelta(minutes=1)  # a generation that young is still on its way


class GenerationQuerySet(SoftDeleteQuerySet):
    def owned_by(self, api_key):
        return self.filter(api_key=api_key)

    def unfinished(self):
        return self.filter(status__in=UNFINISHED)

    def finished(self):
        return self.filter(status__in=FINISHED)

    def finished_for(self, *, days: int):
        """Those whose end is that long ago, deleted ones among them."""
        return self.finished().filter(completed_at__lt=Now() - timedelta(days=days))

    def deleted_for(self, *, days: int):
        return self.finished().deleted().filter(deleted_at__lt=Now() - timedelta(days=days))

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
        return self._submit(**{"id": uuid7(), **fields}, job_priority=Turn.objects.take(fields["api_key"]))

    @retry.unit_of_work(find=lambda self, id, **fields: self.model.all_objects.filter(pk=id).first())
    def _submit(self, job_priority: int, **fields):
        generation = self.create(**fields)
        self._enqueue(generation.id, job_priority)
        return generation

    def requeue(self) -> list[UUID]:
        """Give each a job and return their ids. One that has a waiting job keeps that."""
        generations = list(self.select_related("api_key"))
        for generation in generations:
            with suppress(AlreadyEnqueued):
                self._enqueue(generation.id, Turn.objects.take(generation.api_key))
        return [generation.id for generation in generations]

    requeue.queryset_only = True

    def _enqueue(self, id: UUID, priority: int) -> None:
        # The task is named, not imported: it imports the models.
        # The lock lets a generation have one waiting job and no more.
        job = queue.configure_task(RENDER_TASK, queue="render", queueing_lock=str(id), priority=priority)
        job.defer(generation_id=str(id))

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
