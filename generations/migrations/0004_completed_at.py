from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False  # the index is built without blocking writes; each has its own migration, so that it can be retried

    dependencies = [("generations", "0003_discardedfile")]

    operations = [
        AddIndexConcurrently(
            "generation",
            models.Index("completed_at", condition=Q(completed_at__isnull=False), name="generation_completed_at"),
        ),
    ]
