from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generations", "0012_submission")]

    operations = [
        ValidateConstraint("generation", "generation_output_format_is_known"),
        ValidateConstraint("generation", "generation_quality_is_in_range"),
        migrations.RunSQL(
            "ALTER TABLE generations_generation VALIDATE CONSTRAINT generation_submission_fk", migrations.RunSQL.noop
        ),
    ]
