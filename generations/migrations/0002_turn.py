from django.db import migrations, models
from django.db.models.deletion import CASCADE


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0004_validate_limits"), ("generations", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Turn",
            fields=[
                (
                    "api_key",
                    models.OneToOneField(
                        on_delete=CASCADE, primary_key=True, related_name="+", serialize=False, to="apikeys.apikey"
                    ),
                ),
                ("taken", models.BigIntegerField(help_text="The latest turn it took.")),
                ("taken_at", models.DateTimeField()),
                ("started", models.BigIntegerField(help_text="The latest of its turns that was served.", null=True)),
            ],
            options={"indexes": [models.Index(models.F("started"), name="turn_started")]},
        ),
        # Every submission writes to it, and its loss does little harm. Half-empty pages have room for new row versions.
        migrations.RunSQL("ALTER TABLE generations_turn SET UNLOGGED, SET (fillfactor = 50)", migrations.RunSQL.noop),
    ]
