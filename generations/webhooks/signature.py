"""The secrets that sign webhooks, one for each API key and the keys that replace it.

A secret is stored as it is, because signing needs it. It is in no log, and only the key itself and an administrator
who requests it see it.
"""

import secrets
from base64 import b64encode
from datetime import datetime, timedelta

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from standardwebhooks import Webhook

from apikeys.models import ApiKey

PREFIX = "whsec_"
BYTES = 32
GRACE = timedelta(hours=24)  # in which the previous secret also signs


def make() -> str:
    return PREFIX + b64encode(secrets.token_bytes(BYTES)).decode()


class WebhookSecretManager(models.Manager):
    def of(self, api_key: ApiKey) -> "WebhookSecret":
        """The secret of a key, created when it is first needed. A key that replaces another one keeps its secret."""
        root = ApiKey.all_objects.get(pk__in=api_key.lineage, rotated_from=None) if api_key.rotated_from_id else api_key
        secret = self.filter(api_key=root).first()
        return secret or self.get_or_create(api_key=root, defaults={"secret": make()})[0]


class WebhookSecret(models.Model):
    api_key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True, related_name="+")
    secret = models.CharField(max_length=60, editable=False)
    previous = models.CharField(max_length=60, null=True, editable=False, help_text="It signs until its grace ends.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False)

    objects = WebhookSecretManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(previous__isnull=True, rotated_at__isnull=True)
                | Q(previous__isnull=False, rotated_at__isnull=False),
                name="webhooksecret_rotation_is_dated",
            ),
        ]

    def __str__(self) -> str:
        return f"webhook secret of {self.api_key_id}"

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def valid(self) -> list[str]:
        """The secrets that sign now, the current one first."""
        return [self.secret, self.previous] if self.previous_expires_at else [self.secret]

    @property
    def previous_expires_at(self) -> datetime | None:
        """When the grace of the previous secret ends, if it hasn't yet."""
        end = self.rotated_at and self.rotated_at + GRACE
        return end if end and timezone.now() < end else None

    def rotate(self) -> None:
        """Replace the secret. The previous one also signs for GRACE; one that was previous before ends now."""
        with transaction.atomic():
            rows = type(self).objects.filter(pk=self.pk)
            rows.update(previous=F("secret"), secret=make(), rotated_at=Now())
            self.refresh_from_db()


def headers(secrets: list[str], id: str, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature by each secret."""
    now, text = timezone.now(), body.decode()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(id, now, text) for secret in secrets),
    }
