from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("generations", "0002_turn")]

    operations = [
        migrations.CreateModel(
            name="DiscardedFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("path", models.CharField(max_length=500)),
                ("discarded_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
        ),
    ]
