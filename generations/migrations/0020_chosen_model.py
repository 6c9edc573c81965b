from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0006_rename_bucket"), ("generations", "0019_validate_webhooks")]

    operations = [
        migrations.CreateModel(
            "ChosenModel",
            [
                (
                    "api_key",
                    models.OneToOneField(
                        "apikeys.apikey", models.CASCADE, primary_key=True, related_name="+", serialize=False
                    ),
                ),
                ("model", models.CharField(max_length=100)),
            ],
        ),
    ]
