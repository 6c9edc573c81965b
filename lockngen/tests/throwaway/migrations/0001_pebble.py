from django.db import migrations, models


class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel(
            name="Pebble",
            fields=[("id", models.BigAutoField(primary_key=True)), ("weight", models.IntegerField(db_default=1))],
        )
    ]
