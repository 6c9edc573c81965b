from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0003_limits")]

    operations = [
        ValidateConstraint(model_name="apikey", name="apikey_priority_is_in_range"),
        ValidateConstraint(model_name="apikey", name="apikey_max_pending_not_negative"),
    ]
