"""The vocabulary of Generation: which rows, and the two changes that concern many of them."""

from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, When
from django.db.models.functions import Coalesce, Now
from procrastinate.contrib.django import app as queue

from generations.status import UNFINISHED, Status
from lockngen.softdelete import SoftDeleteQuerySet

RENDER_TASK = "generations.render"


class GenerationQuerySet(SoftDeleteQuerySet):
    def owned_by(self, api_key):
        return self.filter(api_key=api_key)

    def unfinished(self):
        return self.filter(status__in=UNFINISHED)

    def newest_first(self):
        """By id, which is a UUID of version 7 and so sorts by time."""
        return self.order_by("-id")

    def older_than(self, id: UUID):
        return self.filter(id__lt=id)

    def submit(self, **fields):
        """Store a pending generation together with its job: both are there afterwards, or neither is."""
        with transaction.atomic(using=self.db):
            generation = self.create(**fields)
            # The task is named, not imported: it imports the models.
            # The lock lets a generation have one waiting job and no more.
            job = queue.configure_task(RENDER_TASK, queue="render", queueing_lock=str(generation.id))
            job.defer(generation_id=str(generation.id))
        return generation

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
