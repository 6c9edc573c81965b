import django.core.validators
import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0002_seed_development_key")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="priority",
            field=models.IntegerField(
                db_default=1,
                default=1,
                help_text="How many turns it gets where other keys get one, while all of them wait.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(10),
                ],
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="max_pending",
            field=models.IntegerField(
                db_default=0,
                default=0,
                help_text="Generations that may wait or be rendered at once; 0 means no quota.",
                validators=[django.core.validators.MinValueValidator(0)],
            ),
        ),
        # Validated in the next migration, which doesn't block writes meanwhile.
        AddConstraintNotValid(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__gte", 1), ("priority__lte", 10)), name="apikey_priority_is_in_range"
            ),
        ),
        AddConstraintNotValid(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_pending__gte", 0)), name="apikey_max_pending_not_negative"
            ),
        ),
        migrations.CreateModel(
            name="Bucket",
            fields=[
                (
                    "key",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="bucket",
                        serialize=False,
                        to="apikeys.apikey",
                    ),
                ),
                ("spent", models.BigIntegerField(help_text="As limits.Allowance counts it.")),
                ("is_admitted", models.BooleanField(help_text="Whether the last call was.")),
                ("measured_at", models.DateTimeField(help_text="When the last call was, and this was spent.")),
            ],
        ),
        # Half-empty pages have room for a row's next version, so updates change no index (HOT).
        migrations.RunSQL("ALTER TABLE apikeys_bucket SET UNLOGGED, SET (fillfactor = 50)", migrations.RunSQL.noop),
    ]
