"""Filters, submission and bulk changes of generations."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import transaction
from django.db.models import Case, Exists, F, Func, IntegerField, JSONField, OuterRef, Value, When
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _
from procrastinate.contrib.django import app as queue
from procrastinate.exceptions import AlreadyEnqueued

from generations import submission
from generations.progress import notifications
from generations.scheduling import queues
from generations.scheduling.fair_share import FairShare
from generations.status import FINISHED, UNFINISHED, Status
from generations.submission import Submission
from lockngen.database import retry
from lockngen.softdelete import SoftDeleteQuerySet

PROMPT_WORDS = SearchVector("prompt", config="simple")  # the expression of the index generation_prompt_words
STORED_WITHIN = timedelta(minutes=10)  # of the creation of its id, also if the database is away meanwhile
CHANGED_AT_ONCE = 1000  # rows of a bulk change in one statement


class QueueFull(Exception):
    def __init__(self, max_pending: int):
        text = _("The key has reached its quota of %(count)s unfinished generations.")
        super().__init__(text % {"count": max_pending})


class GenerationQuerySet(SoftDeleteQuerySet):
    def owned_by(self, api_key):
        """Those of the key and of the keys that it replaced."""
        if api_key.rotated_from_id is None:
            return self.filter(api_key=api_key)
        return self.filter(api_key__in=api_key.lineage)

    def unfinished(self):
        return self.filter(status__in=UNFINISHED)

    def pending(self):
        return self.filter(status=Status.PENDING)

    def finished(self):
        return self.filter(status__in=FINISHED)

    def finished_for(self, *, days: int):
        return self.finished().filter(completed_at__lt=Now() - timedelta(days=days))

    def deleted_for(self, *, days: int):
        return self.finished().deleted().filter(deleted_at__lt=Now() - timedelta(days=days))

    def newest_first(self):
        """By id: a UUID of version 7 sorts by time."""
        return self.order_by("-id")

    def older_than(self, id: UUID):
        return self.filter(id__lt=id)

    def newer_than(self, id: UUID):
        return self.filter(id__gt=id)

    def created_since(self, time: datetime):
        """The id, whose first 48 bits are milliseconds, finds them, so that no further index is needed.

        It is made before the row is stored, but not long before.
        """
        return self.filter(id__gte=_first_id(time, STORED_WITHIN), created_at__gte=_in_utc(time))

    def created_before(self, time: datetime):
        return self.filter(id__lt=_first_id(time), created_at__lt=_in_utc(time))

    def labelled(self, labels: dict[str, str]):
        """Those that have all of these labels."""
        return self.filter(labels__contains=labels)

    def add_labels(self, labels: dict[str, str], *, at_most: int) -> int:
        """Add labels to those that then have at most so many, and return their number. A name's value is replaced."""
        merged = CombinedExpression(F("labels"), "||", Value(labels, JSONField()), output_field=JSONField())
        names = "jsonb_array_length(jsonb_path_query_array(%(expressions)s, '$.keyvalue()'))"
        count = Func(merged, template=names, output_field=IntegerField())
        with_room = self.alias(label_count=count).filter(label_count__lte=at_most)
        return self._change_in_batches(with_room, notifications.notify_changed, labels=merged)

    def first_of_calls(self):
        earlier = self.model.all_objects.filter(submission=OuterRef("submission"), id__lt=OuterRef("id"))
        return self.filter(~Exists(earlier))

    def search(self, text: str):
        """Those whose prompt has all of the words. Supports "a phrase", OR and -word, and accepts any input."""
        query = SearchQuery(text.replace("\0", " "), config="simple", search_type="websearch")
        return self.alias(words=PROMPT_WORDS).filter(words=query)

    def stranded(self):
        return self.unfinished().filter(queues.is_stranded())

    def submit(self, **fields):
        """Store a pending generation and its job in one transaction. Raises QueueFull if the key's quota is used up."""
        # The model chooses the id before the first attempt, so that a retry can find out whether that was committed.
        generation = self.model(**fields)
        # The priority is assigned before the transaction, which would hold the row lock until the commit is on disk.
        # A key with a quota has its submissions serialized anyway, and a refused one must not use a share.
        if generation.api_key.max_pending:
            return self._store([generation], None)[0]
        return self._insert_alone([generation], _assign_priorities([generation]))[0]

    def submit_all(self, submissions: list[dict]) -> list:
        """Submit several generations of keys without a quota, in one transaction if possible.

        Returns for each its generation or the error that prevented it.
        """
        generations = [self.model(**fields) for fields in submissions]
        try:
            return self._insert_alone(generations, _assign_priorities(generations))
        except Exception as error:
            if len(generations) == 1 or retry.outage(error):
                return [error] * len(generations)
        return [result for fields in submissions for result in self.submit_all([fields])]  # one of them is the cause

    def submit_call(self, call: Submission, parameters: list[dict]) -> list:
        """Store the generations of one call in one transaction: all or none. Raises QueueFull and AlreadySubmitted."""
        generations = [self.model(api_key=call.api_key, **each) for each in parameters]
        return self._store(generations, None if call.api_key.max_pending else _assign_priorities(generations), call)

    def _stored(self, generations: list, *_) -> list | None:
        found = self.model.all_objects.in_bulk([generation.pk for generation in generations])
        return [found[generation.pk] for generation in generations] if found else None

    @retry.unit_of_work(find=_stored)
    def _store(self, generations: list, priorities: list[int] | None, call: Submission | None = None) -> list:
        if call:
            call.store()
            for generation in generations:
                generation.submission = call
        if priorities is None:
            self._lock_quota(generations[0].api_key, len(generations))
        return self._insert_rows(generations, priorities or _assign_priorities(generations))

    def _insert_rows(self, generations: list, priorities: list[int]) -> list:
        created_at = submission.insert(generations, priorities)
        for generation in generations:
            generation.created_at = created_at
            generation._state.adding, generation._state.db = False, self.db
        return generations

    _insert_alone = retry.unit_of_work(find=_stored, in_one_statement=True)(_insert_rows)

    def unfinished_of(self, key) -> int:
        """The count that the key's quota limits."""
        return self.filter(api_key=key).unfinished().count()

    def _lock_quota(self, api_key, count: int) -> None:
        """Check the quota for so many, and lock it against other submissions of the key until these are stored."""
        # The generations' foreign key takes a weaker lock, so this blocks only transactions that take the same lock.
        rows = type(api_key).all_objects.select_for_update(no_key=True).filter(pk=api_key.pk)
        max_pending = rows.values_list("max_pending", flat=True).get()
        # A separate statement sees what was committed while the one before waited.
        if max_pending and self.unfinished_of(api_key) + count > max_pending:
            raise QueueFull(max_pending)

    def requeue(self) -> list[UUID]:
        """Enqueue a job for each and return their ids. An existing waiting job is kept."""
        generations = list(self.select_related("api_key"))
        for generation in generations:
            id, (priority,) = str(generation.id), _assign_priorities([generation])
            # The task is referred to by name, because its module imports the models. The lock limits a generation to
            # one waiting job.
            job = queue.configure_task(queues.RENDER_TASK, queue=generation.queue, queueing_lock=id, priority=priority)
            with suppress(AlreadyEnqueued):
                job.defer(generation_id=id)
        return [generation.id for generation in generations]

    def cancel(self) -> int:
        fields = {"status": Status.CANCELLED, "completed_at": Now()}
        return self._change_in_batches(self.unfinished(), lambda _: notifications.notify(), **fields)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Hide the live rows. Unfinished ones are cancelled in the same statement."""
        count = self._change_in_batches(
            self.live(),
            notifications.notify_changed,
            status=Case(When(status__in=UNFINISHED, then=Status.CANCELLED), default=F("status")),
            completed_at=Coalesce("completed_at", Now()),
            is_deleted=True,
            deleted_at=Now(),
        )
        return self._counted(count)

    def restore(self) -> int:
        fields = {"is_deleted": False, "deleted_at": None}
        return self._change_in_batches(self.deleted(), notifications.notify_changed, **fields)

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        """Remove the rows, and the submissions of which no generation is left."""
        with transaction.atomic(using=self.db):
            notifications.notify_changed(self.order_by().values_list("api_key", "pk"))
            # Locked, so that of two transactions that remove a submission's last generations one sees the other's.
            submissions = Submission.objects.select_for_update().filter(pk__in=self.values("submission"))
            locked = [submission.pk for submission in submissions]
            counted = super().hard_delete()
            Submission.objects.filter(pk__in=locked, generations=None).delete()
        return counted

    for method in (add_labels, requeue, cancel, delete, restore, hard_delete):
        # As in Django: `Generation.objects.cancel()` is too easily written by mistake.
        method.alters_data = method.queryset_only = True
    del method

    def _change_in_batches(self, rows, publish: Callable[[list[tuple[UUID, UUID]]], None], **fields) -> int:
        """Update the rows, publish the ids of their keys and their own, and return their number.

        A statement for all could exceed DB_STATEMENT_TIMEOUT: the trigger that records webhooks takes up to 0.3 ms for
        a row.
        """
        count, ids = 0, list(rows.order_by().values_list("api_key", "pk"))
        for start in range(0, len(ids), CHANGED_AT_ONCE):
            batch = ids[start : start + CHANGED_AT_ONCE]
            count += rows.filter(pk__in=[id for _, id in batch]).update(**fields)
            publish(batch)
        return count


def _in_utc(time: datetime) -> datetime:
    """The time in UTC, or the earliest or latest that there is: PostgreSQL accepts no other offset near them."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return (datetime.min if time.year == datetime.min.year else datetime.max).replace(tzinfo=UTC)


def _first_id(time: datetime, earlier: timedelta = timedelta(0)) -> UUID:
    """The smallest id that is created at this time or later, or so much earlier."""
    return UUID(int=max(0, int((time.timestamp() - earlier.total_seconds()) * 1000)) << 80)


def _assign_priorities(generations: list) -> list[int]:
    return FairShare.objects.assign_priorities([(each.api_key, each.queue) for each in generations])
