from django.contrib.postgres.operations import AddConstraintNotValid
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0002_seed_development_key")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="priority",
            field=models.IntegerField(
                default=1,
                db_default=1,
                validators=[MinValueValidator(1), MaxValueValidator(10)],
                help_text="How many turns it gets where other keys get one, while all of them wait.",
            ),
        ),
        # Validated in a migration of its own, which doesn't keep anybody from writing meanwhile.
        AddConstraintNotValid(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__gte", 1), ("priority__lte", 10)), name="apikey_priority_is_in_range"
            ),
        ),
    ]
