from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("generations", "0010_rename_turn")]

    # Names and texts in Python only: tables and columns keep their stored names.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("DiscardedFile", "PendingDeletion"),
                migrations.AlterModelTable("pendingdeletion", "generations_discardedfile"),
                migrations.RemoveConstraint("generation", "generation_attempts_are_counted"),
                migrations.RenameField("generation", "releases", "requeues"),
                migrations.AlterField(
                    "generation",
                    "requeues",
                    models.IntegerField(
                        db_column="releases",
                        default=0,
                        db_default=0,
                        help_text="Attempts that were requeued and don't count.",
                    ),
                ),
                migrations.AlterField(
                    "generation",
                    "attempts",
                    models.IntegerField(
                        default=0,
                        db_default=0,
                        help_text="Number of render attempts; used as the fencing token.",
                    ),
                ),
                migrations.AddConstraint(
                    "generation",
                    models.CheckConstraint(
                        condition=Q(attempts__gte=F("requeues"), requeues__gte=0),
                        name="generation_attempts_are_counted",
                    ),
                ),
                migrations.AlterField(
                    "fairshare", "taken", models.BigIntegerField(help_text="The key's latest position.")
                ),
                migrations.AlterField(
                    "fairshare",
                    "started",
                    models.BigIntegerField(null=True, help_text="The key's latest position that has started."),
                ),
            ]
        )
    ]
