from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("generations", "0020_chosen_model")]

    operations = [
        migrations.AddField(
            "generation",
            "image_placeholder",
            models.CharField(
                blank=True, editable=False, help_text="A tiny WebP in base64.", max_length=1000, null=True
            ),
        ),
    ]
