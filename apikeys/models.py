from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from apikeys import tokens
from apikeys.admission import AdmissionQuerySet
from apikeys.buckets import Bucket  # noqa: F401  a model of this app
from lockngen.fields import FixedCharField
from lockngen.softdelete import LiveManager, SoftDeleteModel, deletion_is_dated

# The key that development machines share. Its text is public, so it opens nothing unless DEBUG is on.
DEVELOPMENT_TOKEN = tokens.sign(tokens.TEST + "LockNGenDevelopmentKeyNeverUseInProduction0")
DEVELOPMENT_NAME = "Development"
MOST_TURNS = 10


class ApiKeyQuerySet(AdmissionQuerySet):
    def usable(self):
        """Keys that open doors now, by the database's clock."""
        unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        return self.live().filter(unexpired, is_active=True, revoked_at__isnull=True)

    def issue(self, **fields) -> tuple["ApiKey", str]:
        """A new key and its token. The token is stored nowhere: this is the only time it can be shown."""
        token = tokens.make()
        return self.create(key_hash=tokens.digest(token), prefix=tokens.visible(token), **fields), token

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
    max_pending = models.IntegerField(
        default=0,
        db_default=0,
        validators=[MinValueValidator(0)],
        help_text="Generations that may wait or be rendered at once; 0 means no quota.",
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
            models.CheckConstraint(condition=Q(max_pending__gte=0), name="apikey_max_pending_not_negative"),
            deletion_is_dated("apikey_deletion_is_dated"),
        ]
        indexes = [
            # The admin's search by the start of a token; the operator class lets LIKE 'lg_live_ab%' use it.
            models.Index(fields=["prefix"], name="apikey_prefix", opclasses=["varchar_pattern_ops"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
