from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("generations", "0004_completed_at")]

    operations = [
        AddIndexConcurrently(
            "generation",
            models.Index("deleted_at", condition=Q(is_deleted=True), name="generation_deleted_at"),
        ),
    ]
