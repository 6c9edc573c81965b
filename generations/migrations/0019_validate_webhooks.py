from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generations", "0018_webhooks")]

    operations = [ValidateConstraint("submission", "submission_webhook_is_whole")]
