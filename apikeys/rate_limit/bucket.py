from django.db import models


class RateLimitBucket(models.Model):
    """How much of its limit a key has used. Every counted call writes it.

    The table is UNLOGGED: a write waits for no disk. A crash of the server empties it, which gives each key its full
    limit again. There is no foreign key constraint, so a row never prevents the removal of its key; a call
    during that removal can leave a row without a key.
    """

    key = models.OneToOneField(
        "apikeys.ApiKey", models.CASCADE, primary_key=True, db_constraint=False, related_name="bucket"
    )
    spent = models.BigIntegerField(help_text="Used and not yet regained, in the units of RateLimitState.")
    is_admitted = models.BooleanField(help_text="Whether the last call was admitted.")
    measured_at = models.DateTimeField(help_text="The time of the last call, at which this was spent.")

    class Meta:
        db_table = "apikeys_bucket"

    def __str__(self) -> str:
        return f"{self.key_id}: {self.spent}"
