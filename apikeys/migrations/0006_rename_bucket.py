import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0005_life_and_audit")]

    # Names and texts in Python only: tables and columns keep their stored names.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("Bucket", "RateLimitBucket"),
                migrations.AlterModelTable("ratelimitbucket", "apikeys_bucket"),
                migrations.AlterField(
                    model_name="apikey",
                    name="is_active",
                    field=models.BooleanField(
                        db_default=True, default=True, help_text="Off: calls with this key are rejected."
                    ),
                ),
                migrations.AlterField(
                    model_name="apikey",
                    name="last_used_at",
                    field=models.DateTimeField(
                        blank=True, editable=False, help_text="Accurate to the minute.", null=True
                    ),
                ),
                migrations.AlterField(
                    model_name="apikey",
                    name="max_pending",
                    field=models.IntegerField(
                        db_default=0,
                        default=0,
                        help_text="Generations that may be pending or processing at once; 0 means no quota.",
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                migrations.AlterField(
                    model_name="apikey",
                    name="priority",
                    field=models.IntegerField(
                        db_default=1,
                        default=1,
                        help_text="Renders for each render of another key, while both have prompts waiting.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10),
                        ],
                    ),
                ),
                migrations.AlterField(
                    model_name="keyevent",
                    name="action",
                    field=models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("changed", "Changed"),
                            ("rotated", "Rotated"),
                            ("deactivated", "Deactivated"),
                            ("activated", "Activated"),
                            ("revoked", "Revoked"),
                            ("cancelled", "Pending work cancelled"),
                            ("deleted", "Deleted"),
                            ("restored", "Restored"),
                            ("removed", "Removed permanently"),
                        ],
                        max_length=20,
                    ),
                ),
                migrations.AlterField(
                    model_name="keyevent",
                    name="user_id",
                    field=models.BigIntegerField(help_text="The id of the admin's user.", null=True),
                ),
                migrations.AlterField(
                    model_name="ratelimitbucket",
                    name="is_admitted",
                    field=models.BooleanField(help_text="Whether the last call was admitted."),
                ),
                migrations.AlterField(
                    model_name="ratelimitbucket",
                    name="measured_at",
                    field=models.DateTimeField(help_text="The time of the last call, at which this was spent."),
                ),
                migrations.AlterField(
                    model_name="ratelimitbucket",
                    name="spent",
                    field=models.BigIntegerField(
                        help_text="Used and not yet regained, in the units of RateLimitState."
                    ),
                ),
            ]
        )
    ]
