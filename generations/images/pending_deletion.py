"""Records of the files of hard-deleted generations, kept until the files are removed."""

from django.db import models
from django.db.models.functions import Now


class PendingDeletion(models.Model):
    """A file to remove. It is recorded in the transaction that deletes its generation.

    So a killed process leaves no generation without its image and no file without a record.
    """

    path = models.CharField(max_length=500)
    discarded_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "generations_discardedfile"

    def __str__(self) -> str:
        return self.path
