from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generations", "0009_prompt_words")]

    # Tables and columns keep their stored names.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("Turn", "FairShare"),
                migrations.AlterModelTable("fairshare", "generations_turn"),
            ]
        )
    ]
