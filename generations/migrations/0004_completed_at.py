from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False  # an index is built beside a system that goes on; each has a migration, so that it can be repeated

    dependencies = [("generations", "0003_discardedfile")]

    operations = [
        AddIndexConcurrently(
            "generation",
            models.Index("completed_at", condition=Q(completed_at__isnull=False), name="generation_completed_at"),
        ),
    ]
