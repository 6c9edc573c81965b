from django.db import migrations, models
from django.db.models.deletion import DO_NOTHING


class Migration(migrations.Migration):
    dependencies = [("generations", "0021_image_placeholder")]

    operations = [
        migrations.CreateModel(
            name="Preview",
            fields=[
                (
                    "generation",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="generations.generation",
                    ),
                ),
                ("attempt", models.IntegerField()),
                ("image", models.BinaryField(help_text="A WebP.")),
            ],
        ),
        migrations.RunSQL("ALTER TABLE generations_preview SET UNLOGGED", migrations.RunSQL.noop),
    ]
