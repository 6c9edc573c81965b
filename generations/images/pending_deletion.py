"""Files whose generation is gone for good: their names are kept until they are gone as well."""

from django.db import models
from django.db.models.functions import Now


class PendingDeletion(models.Model):
    """A file to remove. It is named in the very transaction that removes its generation.

    So a process that is killed leaves neither a generation without its image nor a file that nobody knows of.
    """

    path = models.CharField(max_length=500)
    discarded_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "generations_discardedfile"

    def __str__(self) -> str:
        return self.path
