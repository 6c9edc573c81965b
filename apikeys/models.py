import hmac
from datetime import timedelta

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from apikeys import tokens
from lockngen.fields import FixedCharField
from lockngen.softdelete import LiveManager, SoftDeleteModel, SoftDeleteQuerySet, deletion_is_dated

# The key that development machines share. Its text is public, so it opens nothing unless DEBUG is on.
DEVELOPMENT_TOKEN = tokens.sign(tokens.TEST + "LockNGenDevelopmentKeyNeverUseInProduction0")
DEVELOPMENT_NAME = "Development"
MOST_TURNS = 10
LAST_USED_PRECISION = timedelta(minutes=1)  # finer would be a write in every request


class ApiKeyQuerySet(SoftDeleteQuerySet):
    def usable(self):
        """Keys that open doors now, by the database's clock."""
        unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        return self.live().filter(unexpired, is_active=True, revoked_at__isnull=True)

    def issue(self, **fields) -> tuple["ApiKey", str]:
        """A new key and its token. The token is stored nowhere: this is the only time it can be shown."""
        token = tokens.make()
        return self.create(key_hash=tokens.digest(token), prefix=tokens.visible(token), **fields), token

    def authenticate(self, token: str) -> "ApiKey | None":
        """The usable key of a token, or None. What isn't a token at all costs no query."""
        if not tokens.is_valid(token) or (tokens.is_test(token) and not settings.DEBUG):
            return None
        digest = tokens.digest(token)
        key = self.usable().filter(key_hash=digest).first()
        return key if key and hmac.compare_digest(key.key_hash, digest) else None

    def ensure_development(self) -> "ApiKey":
        """The development key, made or made usable again. Migration 0002 states the same row for itself."""
        key, _ = self.model.all_objects.update_or_create(
            key_hash=tokens.digest(DEVELOPMENT_TOKEN),
            defaults={
                "prefix": tokens.visible(DEVELOPMENT_TOKEN),
                "name": DEVELOPMENT_NAME,
                "rate_limit": 0,
                "is_active": True,
                "expires_at": None,
                "revoked_at": None,
                "is_deleted": False,
                "deleted_at": None,
            },
        )
        return key


class ApiKey(SoftDeleteModel):
    """A client's key. Only the SHA-256 of its token is kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    key_hash = FixedCharField(max_length=64, editable=False)
    prefix = models.CharField(max_length=20, editable=False, help_text="The visible start of the token.")
    name = models.CharField(max_length=100)
    rate_limit = models.IntegerField(
        default=100,
        db_default=100,
        validators=[MinValueValidator(0)],
        help_text="Requests a minute; 0 means no limit.",
    )
    priority = models.IntegerField(
        default=1,
        db_default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_TURNS)],
        help_text="How many turns it gets where other keys get one, while all of them wait.",
    )
    is_active = models.BooleanField(default=True, db_default=True, help_text="Off: the key opens nothing.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To the minute.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = LiveManager.from_queryset(ApiKeyQuerySet)()
    all_objects = models.Manager.from_queryset(ApiKeyQuerySet)()

    class Meta:
        verbose_name = "API key"
        constraints = [
            # Authentication finds the key by it; also among deleted rows: a hash never means two keys.
            models.UniqueConstraint(fields=["key_hash"], name="apikey_key_hash_unique"),
            models.CheckConstraint(condition=Q(key_hash__regex=r"^[0-9a-f]{64}$"), name="apikey_key_hash_is_sha256"),
            models.CheckConstraint(condition=Q(rate_limit__gte=0), name="apikey_rate_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(priority__gte=1, priority__lte=MOST_TURNS), name="apikey_priority_is_in_range"
            ),
            deletion_is_dated("apikey_deletion_is_dated"),
        ]
        indexes = [
            # The admin's search by the start of a token; the operator class lets LIKE 'lg_live_ab%' use it.
            models.Index(fields=["prefix"], name="apikey_prefix", opclasses=["varchar_pattern_ops"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def touch(self) -> None:
        """Note that the key was used, at most once a minute."""
        if self.last_used_at is None or timezone.now() - self.last_used_at > LAST_USED_PRECISION:
            # Of many requests at that moment one writes.
            stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - LAST_USED_PRECISION)
            type(self).all_objects.filter(stale, pk=self.pk).update(last_used_at=Now())
