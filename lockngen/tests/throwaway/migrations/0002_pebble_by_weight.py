from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("throwaway", "0001_pebble")]

    operations = [AddIndexConcurrently("Pebble", models.Index("weight", name="pebble_by_weight"))]
