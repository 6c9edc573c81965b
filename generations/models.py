from django.contrib.postgres.indexes import GinIndex
from django.db import connections, models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now
from django.db.models.lookups import Exact
from uuid_utils.compat import uuid7

from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused
from generations.dialects.automatic1111.chosen_model import ChosenModel  # noqa: F401  a model of this app
from generations.images.pending_deletion import PendingDeletion  # noqa: F401  a model of this app
from generations.progress import notifications
from generations.progress.previews import Preview
from generations.progress.reports import Report
from generations.querysets import PROMPT_WORDS, GenerationQuerySet
from generations.renderers.base import DEFAULT_MODEL
from generations.scheduling import queues
from generations.scheduling.fair_share import FairShare  # noqa: F401  a model of this app
from generations.status import FINISHED, UNFINISHED, Stateful, Status
from generations.submission import PARAMETERS, Submission
from generations.webhooks.models import WebhookDelivery  # noqa: F401  a model of this app
from generations.webhooks.signature import WebhookSecret  # noqa: F401  a model of this app
from lockngen.fields import FixedCharField
from lockngen.softdelete import LIVE, LiveManager, SoftDeleteModel, deletion_is_dated

PROMPT_LENGTH = 2000  # characters, as are the lengths below
MODEL_LENGTH = 100
PATH_LENGTH = 500
ERROR_LENGTH = 1000
PLACEHOLDER_LENGTH = 1000
DEFAULT_SIZE, DEFAULT_STEPS, DEFAULT_GUIDANCE = 512, 30, 7.0  # the size is width and height in pixels

# Facts about an image. Generations completed before these columns existed have none of them.
IMAGE_FACTS = ("thumbnail_path", "image_width", "image_height", "image_bytes", "image_type", "image_sha256")

LABELS_ARE_AN_OBJECT = Exact(Func("labels", function="jsonb_typeof", output_field=models.TextField()), "object")


class OutputFormat(models.TextChoices):
    """The formats that a client can choose for the image."""

    PNG = "png", "PNG"
    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"


class Generation(Stateful, SoftDeleteModel):
    """A request for an image: its parameters, its status and the result."""

    Status = Status

    # The application generates the id, so that a repeated insert conflicts with the first.
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Meta names the index for the foreign key, so Django creates none.
    api_key = models.ForeignKey(ApiKey, models.PROTECT, related_name="generations", db_index=False)
    prompt = models.CharField(max_length=PROMPT_LENGTH)
    negative_prompt = models.CharField(max_length=PROMPT_LENGTH, blank=True, default="", db_default="")
    model = models.CharField(max_length=MODEL_LENGTH, default=DEFAULT_MODEL, db_default=DEFAULT_MODEL)
    width = models.IntegerField(default=DEFAULT_SIZE, db_default=DEFAULT_SIZE, help_text="Pixels.")
    height = models.IntegerField(default=DEFAULT_SIZE, db_default=DEFAULT_SIZE, help_text="Pixels.")
    steps = models.IntegerField(default=DEFAULT_STEPS, db_default=DEFAULT_STEPS)
    guidance = models.FloatField(default=DEFAULT_GUIDANCE, db_default=DEFAULT_GUIDANCE)
    seed = models.BigIntegerField(null=True, blank=True)
    output_format = models.CharField(
        max_length=4, choices=OutputFormat, null=True, blank=True, help_text="Empty: the renderer's own format."
    )
    quality = models.IntegerField(null=True, blank=True, help_text="Of a JPEG or WebP, 1 to 100.")
    keep_metadata = models.BooleanField(null=True, blank=True, help_text="Empty: as set by IMAGE_METADATA.")
    labels = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="The client's own names and values.",
    )
    submission = models.ForeignKey(
        Submission, models.PROTECT, null=True, blank=True, editable=False, related_name="generations", db_index=False
    )
    status = models.IntegerField(choices=Status, default=Status.PENDING, db_default=Status.PENDING)
    image_path = models.CharField(max_length=PATH_LENGTH, null=True, blank=True)
    thumbnail_path = models.CharField(max_length=PATH_LENGTH, null=True, blank=True)
    image_width = models.IntegerField(null=True, blank=True, help_text="Pixels.")
    image_height = models.IntegerField(null=True, blank=True, help_text="Pixels.")
    image_bytes = models.IntegerField(null=True, blank=True)
    image_type = models.CharField(max_length=50, null=True, blank=True, help_text="Such as image/png.")
    image_sha256 = FixedCharField(max_length=64, null=True, blank=True)
    image_placeholder = models.CharField(
        max_length=PLACEHOLDER_LENGTH, null=True, blank=True, editable=False, help_text="A tiny WebP in base64."
    )
    error_message = models.CharField(max_length=ERROR_LENGTH, null=True, blank=True)
    attempts = models.IntegerField(
        default=0, db_default=0, help_text="Number of render attempts; used as the fencing token."
    )
    requeues = models.IntegerField(
        db_column="releases", default=0, db_default=0, help_text="Attempts that were requeued and don't count."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = LiveManager.from_queryset(GenerationQuerySet)()
    all_objects = models.Manager.from_queryset(GenerationQuerySet)()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="generation_status_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=FINISHED, completed_at__isnull=False)
                | Q(status__in=UNFINISHED, completed_at__isnull=True),
                name="generation_end_is_dated",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.COMPLETED, image_path__isnull=False)
                | (~Q(status=Status.COMPLETED) & Q(image_path__isnull=True)),
                name="generation_completed_has_image",
            ),
            models.CheckConstraint(
                condition=Q(("status", Status.COMPLETED), *((f"{name}__isnull", False) for name in IMAGE_FACTS))
                | Q(*((f"{name}__isnull", True) for name in IMAGE_FACTS)),
                name="generation_image_facts_are_whole",
            ),
            # CHECK constraints accept NULL, here and below.
            models.CheckConstraint(
                condition=Q(
                    ("image_width__gt", 0),
                    ("image_height__gt", 0),
                    ("image_bytes__gt", 0),
                    ("image_sha256__regex", r"^[0-9a-f]{64}$"),
                ),
                name="generation_image_facts_are_sound",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.FAILED, error_message__isnull=False)
                | (~Q(status=Status.FAILED) & Q(error_message__isnull=True)),
                name="generation_failed_has_error",
            ),
            models.CheckConstraint(
                condition=Q(width__gt=0, height__gt=0, steps__gt=0), name="generation_sizes_are_positive"
            ),
            models.CheckConstraint(
                condition=Q(output_format__in=OutputFormat.values), name="generation_output_format_is_known"
            ),
            models.CheckConstraint(condition=LABELS_ARE_AN_OBJECT, name="generation_labels_are_an_object"),
            models.CheckConstraint(condition=Q(quality__range=(1, 100)), name="generation_quality_is_in_range"),
            models.CheckConstraint(
                condition=Q(attempts__gte=F("requeues"), requeues__gte=0),
                name="generation_attempts_are_counted",
            ),
            deletion_is_dated("generation_deletion_is_dated"),
        ]
        indexes = [
            # GET /api/v1/generations: a key's live rows, newest first.
            models.Index("api_key", F("id").desc(), name="generation_live_by_key", condition=LIVE),
            # GET /api/v1/generations?status=…: the same of one status.
            models.Index("api_key", "status", F("id").desc(), name="generation_live_by_status", condition=LIVE),
            # The admin's filter by status, including deleted rows.
            models.Index("status", F("id").desc(), name="generation_by_status"),
            # The admin's filter for deleted rows, which are few among many.
            models.Index(F("id").desc(), name="generation_deleted", condition=Q(is_deleted=True)),
            # PROTECT and the foreign key: does any row, live or deleted, refer to this key?
            models.Index("api_key", name="generation_by_key"),
            # RETENTION_FINISHED: rows that ended long ago. `manage.py status`: rows that ended recently.
            models.Index("completed_at", name="generation_completed_at", condition=Q(completed_at__isnull=False)),
            # The admin's full-text search of prompts, including deleted rows.
            GinIndex(PROMPT_WORDS, name="generation_prompt_words"),
            # A repeated call, and PROTECT: the generations of a submission.
            models.Index("submission", name="generation_by_submission", condition=Q(submission__isnull=False)),
            # GET /api/v1/generations?label=…
            GinIndex(fields=["labels"], name="generation_labels", opclasses=["jsonb_path_ops"]),
            # RETENTION_DELETED: rows deleted long ago.
            models.Index("deleted_at", name="generation_deleted_at", condition=Q(is_deleted=True)),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.status_name})"

    def hard_delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        return self._row(using).hard_delete()

    # Transitions: each returns whether it changed the row, and publishes the change. Finished states are final.

    def start(self) -> int | None:
        """Start an attempt and return its number, or None if the generation is finished.

        The number is the fencing token: ending the attempt requires it, and has no effect once a later attempt has
        started. A running attempt is superseded, as the queue repeats a job only when its worker is considered dead.
        """
        # The ORM's update() returns no columns, and a separate read could return a later attempt's number.
        statement = f"""
            UPDATE {self._meta.db_table} SET status = %s, attempts = attempts + 1, started_at = statement_timestamp()
            WHERE id = %s AND status = ANY(%s) RETURNING attempts
        """  # noqa: S608  contains no user input
        with connections[self._state.db].cursor() as cursor:
            cursor.execute(statement, [Status.PROCESSING.value, self.pk, [status.value for status in UNFINISHED]])
            row = cursor.fetchone()
        if row:
            notifications.notify(self.pk)
        self._reload()
        return row[0] if row else None

    def complete(self, attempt: int, image_path: str, **facts) -> bool:
        """Complete the generation. `facts` are all of IMAGE_FACTS or none, and the used model and seed."""
        return self._change(self._current(attempt), Status.COMPLETED, image_path=image_path, **facts)

    def fail(self, attempt: int, error_message: str) -> bool:
        return self._change(self._current(attempt), Status.FAILED, error_message=error_message[:ERROR_LENGTH])

    def cancel(self) -> bool:
        return self._change(self._row().unfinished(), Status.CANCELLED)

    def set_labels(self, labels: dict[str, str]) -> None:
        """Replace the labels."""
        self.labels = labels
        self.save(update_fields=["labels"])
        notifications.notify_changed([(self.api_key_id, self.pk)])

    def submit_again(self) -> "Generation":
        """Submit a new generation with the same parameters. Raises TransitionRefused and QueueFull."""
        if not self.api_key.is_usable:
            raise TransitionRefused(f"{self.api_key} is {self.api_key.state}: nothing can be submitted for it.")
        parameters = {name: getattr(self, name) for name in PARAMETERS}
        return type(self).objects.submit(api_key=self.api_key, **parameters)

    def requeue(self, attempt: int, counts_as_attempt: bool) -> bool:
        """End an attempt and make the generation pending again."""
        requeues = F("requeues") if counts_as_attempt else F("requeues") + 1
        return self._change(self._current(attempt), Status.PENDING, started_at=None, requeues=requeues)

    def is_current(self, attempt: int) -> bool:
        """Whether this attempt is running and is the latest."""
        return self._current(attempt).exists()

    def publish(self, report: Report, preview: bytes | None = None) -> bool:
        """Publish progress if this attempt is current; return whether it is. Stores nothing but a preview."""
        if preview:
            Preview.objects.publish(self.pk, report.attempt, preview)
        return bool(self._current(report.attempt).values_list(notifications.notify_expression(self.pk, report)))

    def is_at(self, attempt: int, status: Status) -> bool:
        """Whether the generation has this status and this is its latest attempt."""
        return self._row().filter(status=status, attempts=attempt).exists()

    @property
    def queue(self) -> str:
        return queues.of_model(self.model)

    @property
    def counted_attempts(self) -> int:
        """The attempts that count against RENDER_MAX_ATTEMPTS."""
        return self.attempts - self.requeues

    def _current(self, attempt: int) -> GenerationQuerySet:
        return self._row().filter(status=Status.PROCESSING, attempts=attempt)

    def _change(self, rows: GenerationQuerySet, status: Status, **fields) -> bool:
        completed_at = Now() if status in FINISHED else None
        has_changed = bool(rows.update(status=status, completed_at=completed_at, **fields))
        if has_changed:
            notifications.notify(self.pk)
        self._reload()
        return has_changed
