"""The outbox of webhooks: one row for each event of a generation that is to be sent.

A trigger inserts the row and its job in the transaction that changes the generation's status, whatever statement
changes it. So an event is stored if and only if it happened.
"""

from datetime import timedelta
from typing import Any

from django.contrib.postgres.functions import RandomUUID
from django.db import connection, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from generations.scheduling import queues
from generations.scheduling.queues import DELIVERY_TASK, WEBHOOKS

ERROR_LENGTH = 200  # characters
# A job that waits for the next attempt runs now. A running job is left alone.
BRING_FORWARD = "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo' AND queueing_lock = ANY(%s)"
# One statement for many, as each statement of its own would take a millisecond.
ENQUEUE = f"""
    SELECT procrastinate_defer_jobs_v1(array_agg(
        ROW('{WEBHOOKS}', '{DELIVERY_TASK}', 0, NULL, delivery, jsonb_build_object('delivery_id', delivery), NULL)
        ::procrastinate_job_to_defer_v1))
    FROM unnest(%s::text[]) AS delivery
    WHERE NOT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = delivery AND status IN ('todo', 'doing'))
    HAVING count(*) > 0
"""  # noqa: S608  contains no user input
SENT_AT_ONCE = 1000  # deliveries that one transaction sends again


class Event(models.TextChoices):
    """The events of Replicate's API, which a client can select."""

    START = "start"
    OUTPUT = "output"
    LOGS = "logs"  # never sent: generations have no logs
    COMPLETED = "completed"  # completed, failed or cancelled


class DeliveryState(models.IntegerChoices):
    PENDING = 0
    DELIVERED = 1
    FAILED = 2  # the dead letters


class WebhookDeliveryQuerySet(models.QuerySet):
    def pending(self):
        return self.filter(state=DeliveryState.PENDING)

    def failed(self):
        return self.filter(state=DeliveryState.FAILED)

    def ended_for(self, *, days: int):
        return self.filter(ended_at__lt=Now() - timedelta(days=days))

    def stranded(self):
        return self.pending().filter(queues.is_stranded())

    def enqueue(self) -> list[str]:
        """Enqueue a job for each that has none, and return the ids of all."""
        ids = [str(id) for id in self.values_list("pk", flat=True)]
        with connection.cursor() as cursor:
            cursor.execute(ENQUEUE, [ids])
        return ids

    def send_again(self) -> int:
        """Send each now, with all attempts, under the same id. Returns their number."""
        count, ids = 0, [str(id) for id in self.order_by("pk").values_list("pk", flat=True)]
        for start in range(0, len(ids), SENT_AT_ONCE):
            batch = ids[start : start + SENT_AT_ONCE]
            deliveries = WebhookDelivery.objects.filter(pk__in=batch)
            # The rows are locked until their jobs are stored, so that a concurrent call enqueues none as well.
            with transaction.atomic(), connection.cursor() as cursor:
                count += deliveries.update(
                    state=DeliveryState.PENDING, next_attempt_at=Now(), ended_at=None, earlier_attempts=F("attempts")
                )
                cursor.execute(BRING_FORWARD, [batch])
                deliveries.enqueue()
        return count

    for method in (enqueue, send_again):
        method.alters_data = method.queryset_only = True
    del method


class WebhookDelivery(models.Model):
    """An event of a generation that is to be sent to the webhook of its submission."""

    State = DeliveryState

    id = models.UUIDField(
        primary_key=True, db_default=RandomUUID(), editable=False, help_text="Sent as webhook-id in every attempt."
    )
    # Hard-deleting a generation removes its deliveries. Meta names the index.
    generation = models.ForeignKey(
        "generations.Generation", models.CASCADE, related_name="webhook_deliveries", db_index=False
    )
    event = models.CharField(max_length=9, choices=Event)
    state = models.IntegerField(choices=DeliveryState, default=DeliveryState.PENDING, db_default=DeliveryState.PENDING)
    attempts = models.IntegerField(default=0, db_default=0, help_text="Number of attempts; used as the fencing token.")
    earlier_attempts = models.IntegerField(
        default=0, db_default=0, help_text="Those before it was last sent again, which don't count."
    )
    next_attempt_at = models.DateTimeField(db_default=Now(), null=True)
    last_status = models.IntegerField(null=True, help_text="The receiver's latest status code.")
    last_error = models.CharField(max_length=ERROR_LENGTH, null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False, help_text="When the event happened.")
    ended_at = models.DateTimeField(null=True, help_text="When it was delivered or failed.")

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            # Each event once, whatever is repeated. Also the index for the foreign key.
            models.UniqueConstraint(fields=["generation", "event"], name="webhookdelivery_event_unique"),
            models.CheckConstraint(condition=Q(event__in=Event.values), name="webhookdelivery_event_is_known"),
            models.CheckConstraint(
                condition=Q(state=DeliveryState.PENDING, next_attempt_at__isnull=False, ended_at__isnull=True)
                | Q(
                    state__in=(DeliveryState.DELIVERED, DeliveryState.FAILED),
                    next_attempt_at__isnull=True,
                    ended_at__isnull=False,
                ),
                name="webhookdelivery_end_is_dated",
            ),
            models.CheckConstraint(
                condition=Q(attempts__gte=F("earlier_attempts"), earlier_attempts__gte=0),
                name="webhookdelivery_attempts_are_counted",
            ),
        ]
        indexes = [
            # `manage.py status` and the check for deliveries without a job: what is still to be sent.
            models.Index("next_attempt_at", name="webhookdelivery_pending", condition=Q(state=DeliveryState.PENDING)),
            # The admin's filter and `manage.py webhooks list`: the failed, latest first.
            models.Index(F("ended_at").desc(), name="webhookdelivery_failed", condition=Q(state=DeliveryState.FAILED)),
            # RETENTION_WEBHOOKS: those that ended long ago.
            models.Index("ended_at", name="webhookdelivery_ended_at", condition=Q(ended_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.event} of {self.generation_id} ({self.get_state_display().lower()})"

    # Transitions: each returns whether it changed the row.

    def start(self) -> int | None:
        """Start an attempt and return its number, or None if the delivery has ended."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE generations_webhookdelivery SET attempts = attempts + 1 WHERE id = %s AND state = %s"
                " RETURNING attempts",
                [self.pk, DeliveryState.PENDING],
            )
            row = cursor.fetchone()
        self.attempts = row[0] if row else self.attempts
        return row[0] if row else None

    def succeed(self, status: int | None = None) -> bool:
        """Of any attempt: the receiver has accepted the event, or there was nothing to send."""
        return self._end(self._row(), DeliveryState.DELIVERED, last_status=status, last_error=None)

    def postpone(self, attempt: int, seconds: float, error: str, status: int | None = None) -> bool:
        next_attempt_at, error = Now() + timedelta(seconds=seconds), error[:ERROR_LENGTH]
        has_changed = bool(
            self._current(attempt).update(next_attempt_at=next_attempt_at, last_error=error, last_status=status)
        )
        self.refresh_from_db(fields=["next_attempt_at"])
        return has_changed

    def fail(self, attempt: int, error: str, status: int | None = None) -> bool:
        error = error[:ERROR_LENGTH]
        return self._end(self._current(attempt), DeliveryState.FAILED, last_error=error, last_status=status)

    @property
    def counted_attempts(self) -> int:
        """The attempts since it was last sent again."""
        return self.attempts - self.earlier_attempts

    def _row(self) -> WebhookDeliveryQuerySet:
        return type(self).objects.filter(pk=self.pk, state=DeliveryState.PENDING)

    def _current(self, attempt: int) -> WebhookDeliveryQuerySet:
        return self._row().filter(attempts=attempt)

    def _end(self, rows: WebhookDeliveryQuerySet, state: DeliveryState, **fields: Any) -> bool:
        return bool(rows.update(state=state, ended_at=Now(), next_attempt_at=None, **fields))
