import django.contrib.postgres.fields
import django.db.models.deletion
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Now

WEBHOOK = {
    "webhook": models.CharField(max_length=2000, null=True, help_text="The address to which events are sent."),
    "webhook_events": django.contrib.postgres.fields.ArrayField(models.CharField(max_length=9), null=True),
    "interface": models.CharField(max_length=20, null=True, help_text="It determines the payload."),
    "base_url": models.CharField(max_length=500, null=True, help_text="The start of the payload's links."),
}
# The rows and jobs are part of the transaction that changes the status. Each event happens once: an attempt that
# follows another one starts nothing. The numbers are the statuses.
RECORD_EVENTS = """
    CREATE FUNCTION generations_record_webhook_events() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        happened text[] := CASE NEW.status
            WHEN 1 THEN '{start}' WHEN 2 THEN '{output,completed}' ELSE '{completed}' END;
        jobs procrastinate_job_to_defer_v1[];
    BEGIN
        WITH recorded AS (
            INSERT INTO generations_webhookdelivery (generation_id, event)
            SELECT NEW.id, event FROM generations_submission AS submission, unnest(happened) AS event
            WHERE submission.id = NEW.submission_id AND event = ANY (submission.webhook_events)
            ON CONFLICT (generation_id, event) DO NOTHING RETURNING id
        )
        SELECT array_agg(ROW('webhooks', 'generations.deliver_webhook', 0, NULL, id::text,
            jsonb_build_object('delivery_id', id), NULL)::procrastinate_job_to_defer_v1)
        FROM recorded INTO jobs;
        IF jobs IS NOT NULL THEN
            PERFORM procrastinate_defer_jobs_v1(jobs);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER generations_webhook_events AFTER UPDATE OF status ON generations_generation FOR EACH ROW
    WHEN (NEW.submission_id IS NOT NULL AND NEW.status <> OLD.status AND NEW.status <> 0)
    EXECUTE FUNCTION generations_record_webhook_events()
"""
DROP = """
    DROP TRIGGER generations_webhook_events ON generations_generation;
    DROP FUNCTION generations_record_webhook_events()
"""


class Migration(migrations.Migration):
    dependencies = [
        ("apikeys", "0006_rename_bucket"),
        ("generations", "0017_labels_index"),
        ("procrastinate", "0041_post_retry_failed_job"),
    ]

    operations = [
        *(migrations.AddField("submission", name, field) for name, field in WEBHOOK.items()),
        # Not valid at first: the check of all rows would block the table. The next migration validates it.
        AddConstraintNotValid(
            "submission",
            models.CheckConstraint(
                condition=Q(*((f"{name}__isnull", True) for name in WEBHOOK))
                | Q(*((f"{name}__isnull", False) for name in WEBHOOK)),
                name="submission_webhook_is_whole",
            ),
        ),
        migrations.CreateModel(
            "WebhookSecret",
            [
                (
                    "api_key",
                    models.OneToOneField(
                        "apikeys.apikey",
                        django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                    ),
                ),
                ("secret", models.CharField(editable=False, max_length=60)),
                (
                    "previous",
                    models.CharField(
                        editable=False, help_text="It signs until its grace ends.", max_length=60, null=True
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("rotated_at", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(previous__isnull=True, rotated_at__isnull=True)
                        | Q(previous__isnull=False, rotated_at__isnull=False),
                        name="webhooksecret_rotation_is_dated",
                    )
                ]
            },
        ),
        migrations.CreateModel(
            "WebhookDelivery",
            [
                (
                    "id",
                    models.UUIDField(
                        db_default=RandomUUID(),
                        editable=False,
                        help_text="Sent as webhook-id in every attempt.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "generation",
                    models.ForeignKey(
                        "generations.generation",
                        django.db.models.deletion.CASCADE,
                        db_index=False,
                        related_name="webhook_deliveries",
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("start", "Start"),
                            ("output", "Output"),
                            ("logs", "Logs"),
                            ("completed", "Completed"),
                        ],
                        max_length=9,
                    ),
                ),
                (
                    "state",
                    models.IntegerField(
                        choices=[(0, "Pending"), (1, "Delivered"), (2, "Failed")], db_default=0, default=0
                    ),
                ),
                (
                    "attempts",
                    models.IntegerField(
                        db_default=0, default=0, help_text="Number of attempts; used as the fencing token."
                    ),
                ),
                (
                    "earlier_attempts",
                    models.IntegerField(
                        db_default=0,
                        default=0,
                        help_text="Those before it was last sent again, which don't count.",
                    ),
                ),
                ("next_attempt_at", models.DateTimeField(db_default=Now(), null=True)),
                ("last_status", models.IntegerField(help_text="The receiver's latest status code.", null=True)),
                ("last_error", models.CharField(max_length=200, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=Now(), editable=False, help_text="When the event happened."),
                ),
                ("ended_at", models.DateTimeField(help_text="When it was delivered or failed.", null=True)),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "constraints": [
                    models.UniqueConstraint(fields=("generation", "event"), name="webhookdelivery_event_unique"),
                    models.CheckConstraint(
                        condition=Q(event__in=["start", "output", "logs", "completed"]),
                        name="webhookdelivery_event_is_known",
                    ),
                    models.CheckConstraint(
                        condition=Q(state=0, next_attempt_at__isnull=False, ended_at__isnull=True)
                        | Q(state__in=(1, 2), next_attempt_at__isnull=True, ended_at__isnull=False),
                        name="webhookdelivery_end_is_dated",
                    ),
                    models.CheckConstraint(
                        condition=Q(attempts__gte=F("earlier_attempts"), earlier_attempts__gte=0),
                        name="webhookdelivery_attempts_are_counted",
                    ),
                ],
                "indexes": [
                    models.Index("next_attempt_at", condition=Q(state=0), name="webhookdelivery_pending"),
                    models.Index(F("ended_at").desc(), condition=Q(state=2), name="webhookdelivery_failed"),
                    models.Index("ended_at", condition=Q(ended_at__isnull=False), name="webhookdelivery_ended_at"),
                ],
            },
        ),
        migrations.RunSQL(RECORD_EVENTS, DROP),
    ]
