from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generations", "0015_labels")]

    operations = [ValidateConstraint("generation", "generation_labels_are_an_object")]
