from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.contrib.postgres.search import SearchVector
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # the index is built without blocking writes

    dependencies = [("generations", "0008_validate_image_facts")]

    operations = [
        AddIndexConcurrently(
            "generation", GinIndex(SearchVector("prompt", config="simple"), name="generation_prompt_words")
        ),
    ]
