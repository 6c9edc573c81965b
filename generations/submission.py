"""Submissions: the statement that stores generations with their jobs, and the calls that may be repeated."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models.functions import Now

from apikeys.models import ApiKey
from generations.scheduling.queues import RENDER_TASK
from lockngen.fields import FixedCharField

KEY_LENGTH = 255  # characters of an Idempotency-Key
WEBHOOK_LENGTH = 2000  # characters, as are the lengths below
INTERFACE_LENGTH = 20
BASE_URL_LENGTH = 500
RETRIED_WITHIN = timedelta(minutes=10)  # of a call without a key, by its client library

# Parameters that a client chooses.
PARAMETERS = (
    *("prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed"),
    *("output_format", "quality", "keep_metadata", "labels"),
)
COLUMNS = {
    "id": "uuid",
    "api_key_id": "uuid",
    "submission_id": "bigint",
    "prompt": "text",
    "negative_prompt": "text",
    "model": "text",
    "width": "int",
    "height": "int",
    "steps": "int",
    "guidance": "float8",
    "seed": "int8",
    "output_format": "text",
    "quality": "int",
    "keep_metadata": "bool",
    "labels": "jsonb",
}
WEBHOOK_COLUMNS = ("webhook", "webhook_events", "interface", "base_url")
WANTED = COLUMNS | {"queue": "text", "priority": "int"}
NAMES = ", ".join(COLUMNS)
# The queueing lock limits a generation to one waiting job. procrastinate's function is called in the main SELECT, as a
# SELECT in a CTE that nothing refers to never runs. The rows are one parameter in JSON: arrays of each column take the
# client three times as long to write, and the server longer to read.
INSERT = f"""
    WITH given AS (
        SELECT * FROM ROWS FROM (
            json_to_recordset(%s::json) AS ({", ".join(f"{name} {type}" for name, type in WANTED.items())})
        ) WITH ORDINALITY AS given ({NAMES}, queue, priority, number)
    ), stored AS (
        INSERT INTO generations_generation ({NAMES}) SELECT {NAMES} FROM given ORDER BY number RETURNING created_at
    )
    SELECT (SELECT created_at FROM stored LIMIT 1), procrastinate_defer_jobs_v1(array_agg(
        ROW(queue, '{RENDER_TASK}', priority, NULL, id::text, jsonb_build_object('generation_id', id), NULL)
        ::procrastinate_job_to_defer_v1 ORDER BY number))
    FROM given
"""  # noqa: S608  contains no user input
# The conflict is with a call that has the same key. If that call is not committed yet, this one waits for its outcome.
INSERT_CALL = """
    INSERT INTO generations_submission (api_key_id, key, body_sha256, webhook, webhook_events, interface, base_url)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (api_key_id, key) DO NOTHING RETURNING id
"""


def insert(generations: Sequence, priorities: Sequence[int]) -> datetime:
    """Insert pending generations and their jobs by one statement. Returns when they were created."""
    rows = [
        {name: getattr(generation, name) for name in (*COLUMNS, "queue")} | {"priority": priority}
        for generation, priority in zip(generations, priorities, strict=True)
    ]
    with connection.prepared_cursor() as cursor:
        cursor.execute(INSERT, [orjson.dumps(rows).decode()])
        return cursor.fetchone()[0]


class AlreadySubmitted(Exception):
    """The call repeats an earlier one."""


class KeyReused(Exception):
    """An earlier call with the same Idempotency-Key had another body."""


class Submission(models.Model):
    """A create call that may be repeated, has a webhook, or makes several generations.

    It exists as long as one of them does.
    """

    api_key = models.ForeignKey(ApiKey, models.PROTECT, related_name="+", db_index=False)
    key = models.CharField(max_length=KEY_LENGTH, null=True, help_text="The Idempotency-Key.")
    body_sha256 = FixedCharField(max_length=64, help_text="Of the address and the body.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    webhook = models.CharField(max_length=WEBHOOK_LENGTH, null=True, help_text="The address to which events are sent.")
    webhook_events = ArrayField(models.CharField(max_length=9), null=True)
    interface = models.CharField(max_length=INTERFACE_LENGTH, null=True, help_text="It determines the payload.")
    base_url = models.CharField(max_length=BASE_URL_LENGTH, null=True, help_text="The start of the payload's links.")

    is_retry = False  # a client library repeats a call that has no key

    class Meta:
        constraints = [
            # Also the index for the foreign key and for calls with a key. NULLs are distinct.
            models.UniqueConstraint(fields=["api_key", "key"], name="submission_key_unique"),
            models.CheckConstraint(
                condition=models.Q(*((f"{name}__isnull", True) for name in WEBHOOK_COLUMNS))
                | models.Q(*((f"{name}__isnull", False) for name in WEBHOOK_COLUMNS)),
                name="submission_webhook_is_whole",
            ),
        ]
        indexes = [
            # Calls without a key that a client library retries.
            models.Index(
                "api_key", "body_sha256", "id", name="submission_by_body", condition=models.Q(key__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"submission {self.pk}"

    def find_earlier(self) -> "Submission | None":
        """The stored submission that this call repeats. Raises KeyReused."""
        submissions = type(self).objects.filter(api_key__in=self.api_key.lineage)
        if self.key is not None:
            earlier = submissions.filter(key=self.key).first()
            if earlier and earlier.body_sha256 != self.body_sha256:
                raise KeyReused
            return earlier
        if not self.is_retry:
            return None
        recent = submissions.filter(key=None, created_at__gt=Now() - RETRIED_WITHIN)
        return recent.filter(body_sha256=self.body_sha256).order_by("-id").first()

    def store(self) -> None:
        """Insert the submission in the current transaction. Raises AlreadySubmitted."""
        with connection.cursor() as cursor:
            if self.key is None:  # a retry may arrive before the call that it repeats is committed
                lock = f"{self.api_key_id} {self.body_sha256}"
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
                if self.find_earlier():
                    raise AlreadySubmitted
            webhook = [getattr(self, name) for name in WEBHOOK_COLUMNS]
            cursor.execute(INSERT_CALL, [self.api_key_id, self.key, self.body_sha256, *webhook])
            if (row := cursor.fetchone()) is None:
                raise AlreadySubmitted
        (self.pk,) = row
