from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Func, Value
from django.db.models.lookups import Exact

IS_OBJECT = Exact(Func("labels", function="jsonb_typeof", output_field=models.TextField()), "object")


class Migration(migrations.Migration):
    dependencies = [("generations", "0014_submission_index")]

    operations = [
        migrations.AddField(
            "generation",
            "labels",
            models.JSONField(
                blank=True,
                default=dict,
                db_default=Value({}, models.JSONField()),
                help_text="The client's own names and values.",
            ),
        ),
        AddConstraintNotValid(
            "generation", models.CheckConstraint(condition=IS_OBJECT, name="generation_labels_are_an_object")
        ),
    ]
