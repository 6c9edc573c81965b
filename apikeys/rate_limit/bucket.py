from django.db import models


class RateLimitBucket(models.Model):
    """How much of its limit a key has used, written by every call that is counted.

    The table is UNLOGGED: a write waits for no disk, and a crash of the server empties it, which grants each key its
    limit anew and nothing more. No constraint ties it to the keys, so it is never in the way of one's removal; a row
    that a call leaves behind a key that is being removed belongs to nobody.
    """

    key = models.OneToOneField(
        "apikeys.ApiKey", models.CASCADE, primary_key=True, db_constraint=False, related_name="bucket"
    )
    spent = models.BigIntegerField(help_text="As RateLimitState counts it.")
    is_admitted = models.BooleanField(help_text="Whether the last call was.")
    measured_at = models.DateTimeField(help_text="When the last call was, and this was spent.")

    class Meta:
        db_table = "apikeys_bucket"

    def __str__(self) -> str:
        return f"{self.key_id}: {self.spent}"
