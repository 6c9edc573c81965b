from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0003_priority")]

    operations = [ValidateConstraint(model_name="apikey", name="apikey_priority_is_in_range")]
