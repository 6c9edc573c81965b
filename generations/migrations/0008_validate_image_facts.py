from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generations", "0007_image_facts")]

    operations = [
        ValidateConstraint("generation", "generation_image_facts_are_whole"),
        ValidateConstraint("generation", "generation_image_facts_are_sound"),
    ]
