import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

from lockngen.fields import FixedCharField

# Not valid at first: the check of all rows would block the table. The next migration validates it.
ADD_FOREIGN_KEY = """
    ALTER TABLE generations_generation ADD COLUMN submission_id bigint;
    ALTER TABLE generations_generation ADD CONSTRAINT generation_submission_fk FOREIGN KEY (submission_id)
    REFERENCES generations_submission (id) DEFERRABLE INITIALLY DEFERRED NOT VALID
"""
OUTPUT = {
    "output_format": models.CharField(
        max_length=4,
        choices=[("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WebP")],
        null=True,
        blank=True,
        help_text="Empty: the renderer's own format.",
    ),
    "quality": models.IntegerField(null=True, blank=True, help_text="Of a JPEG or WebP, 1 to 100."),
    "keep_metadata": models.BooleanField(null=True, blank=True, help_text="Empty: as set by IMAGE_METADATA."),
}


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0006_rename_bucket"), ("generations", "0011_rename_discardedfile_and_releases")]

    operations = [
        *(migrations.AddField("generation", name, field) for name, field in OUTPUT.items()),
        migrations.CreateModel(
            "Submission",
            [
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        "apikeys.apikey",
                        django.db.models.deletion.PROTECT,
                        db_index=False,
                        related_name="+",
                    ),
                ),
                ("key", models.CharField(help_text="The Idempotency-Key.", max_length=255, null=True)),
                ("body_sha256", FixedCharField(help_text="Of the address and the body.", max_length=64)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("api_key", "key"), name="submission_key_unique")],
                "indexes": [
                    models.Index(
                        "api_key", "body_sha256", "id", condition=Q(key__isnull=True), name="submission_by_body"
                    )
                ],
            },
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(ADD_FOREIGN_KEY, "ALTER TABLE generations_generation DROP COLUMN submission_id")
            ],
            state_operations=[
                migrations.AddField(
                    "generation",
                    "submission",
                    models.ForeignKey(
                        "generations.submission",
                        django.db.models.deletion.PROTECT,
                        null=True,
                        blank=True,
                        editable=False,
                        db_index=False,
                        related_name="generations",
                    ),
                )
            ],
        ),
        AddConstraintNotValid(
            "generation",
            models.CheckConstraint(
                condition=Q(output_format__in=["png", "jpeg", "webp"]), name="generation_output_format_is_known"
            ),
        ),
        AddConstraintNotValid(
            "generation",
            models.CheckConstraint(condition=Q(quality__range=(1, 100)), name="generation_quality_is_in_range"),
        ),
    ]
