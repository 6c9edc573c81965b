from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

from lockngen.fields import FixedCharField

COLUMNS = {
    "thumbnail_path": models.CharField(blank=True, max_length=500, null=True),
    "image_width": models.IntegerField(blank=True, help_text="Pixels.", null=True),
    "image_height": models.IntegerField(blank=True, help_text="Pixels.", null=True),
    "image_bytes": models.IntegerField(blank=True, null=True),
    "image_type": models.CharField(blank=True, help_text="Such as image/png.", max_length=50, null=True),
    "image_sha256": FixedCharField(blank=True, max_length=64, null=True),
}
ALL = Q(("status", 2), *((f"{name}__isnull", False) for name in COLUMNS))
NONE = Q(*((f"{name}__isnull", True) for name in COLUMNS))
SOUND = Q(
    ("image_width__gt", 0), ("image_height__gt", 0), ("image_bytes__gt", 0), ("image_sha256__regex", r"^[0-9a-f]{64}$")
)


class Migration(migrations.Migration):
    dependencies = [("generations", "0006_job_queue_index")]

    operations = [
        *(migrations.AddField("generation", name, field) for name, field in COLUMNS.items()),
        # Validated in a migration of its own, which doesn't block writes.
        AddConstraintNotValid(
            "generation", models.CheckConstraint(condition=ALL | NONE, name="generation_image_facts_are_whole")
        ),
        AddConstraintNotValid(
            "generation", models.CheckConstraint(condition=SOUND, name="generation_image_facts_are_sound")
        ),
    ]
