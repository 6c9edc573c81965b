from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # the index is built without blocking writes

    dependencies = [("generations", "0016_validate_labels")]

    operations = [
        AddIndexConcurrently(
            "generation", GinIndex(fields=["labels"], name="generation_labels", opclasses=["jsonb_path_ops"])
        ),
    ]
