from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False  # the index is built without blocking writes

    dependencies = [("generations", "0013_validate_submission")]

    operations = [
        AddIndexConcurrently(
            "generation",
            models.Index("submission", condition=Q(submission__isnull=False), name="generation_by_submission"),
        ),
    ]
