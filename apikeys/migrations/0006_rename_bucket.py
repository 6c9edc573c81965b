from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0005_life_and_audit")]

    # The table and its columns keep their stored names.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("Bucket", "RateLimitBucket"),
                migrations.AlterModelTable("ratelimitbucket", "apikeys_bucket"),
                migrations.AlterField(
                    "ratelimitbucket", "spent", models.BigIntegerField(help_text="As RateLimitState counts it.")
                ),
            ]
        )
    ]
