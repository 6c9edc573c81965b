from datetime import timedelta
from functools import cached_property
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Least, Now
from uuid_utils.compat import uuid7

from apikeys import states, tokens
from apikeys.audit import CODE, Action, Actor, KeyEvent
from apikeys.querysets import ApiKeyQuerySet, TransitionRefused
from apikeys.rate_limit import usage
from apikeys.rate_limit.bucket import RateLimitBucket  # noqa: F401  a model of this app
from lockngen.fields import FixedCharField
from lockngen.softdelete import LiveManager, SoftDeleteModel, deletion_is_dated

MAX_PRIORITY = 10


class ApiKey(SoftDeleteModel):
    """A client's key. Only the SHA-256 of its token is stored."""

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
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PRIORITY)],
        help_text="Renders for each render of another key, while both have prompts waiting.",
    )
    max_pending = models.IntegerField(
        default=0,
        db_default=0,
        validators=[MinValueValidator(0)],
        help_text="Generations that may be pending or processing at once; 0 means no quota.",
    )
    is_active = models.BooleanField(default=True, db_default=True, help_text="Off: calls with this key are rejected.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Accurate to the minute.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Unique, so that of two concurrent rotations one is refused.
    rotated_from = models.OneToOneField(
        "self", models.SET_NULL, null=True, blank=True, editable=False, related_name="replaced_by"
    )

    objects = LiveManager.from_queryset(ApiKeyQuerySet)()
    all_objects = models.Manager.from_queryset(ApiKeyQuerySet)()

    class Meta:
        verbose_name = "API key"
        constraints = [
            # Authentication finds the key by its hash. Deleted rows are included, so that a hash never means two keys.
            models.UniqueConstraint(fields=["key_hash"], name="apikey_key_hash_unique"),
            models.CheckConstraint(condition=Q(key_hash__regex=r"^[0-9a-f]{64}$"), name="apikey_key_hash_is_sha256"),
            models.CheckConstraint(condition=Q(rate_limit__gte=0), name="apikey_rate_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(priority__gte=1, priority__lte=MAX_PRIORITY), name="apikey_priority_is_in_range"
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

    # Transitions. Each returns whether it changed the row, and records an event with the actor.

    def revoke(self, *, cancel_pending: bool = False, by: Actor = CODE) -> bool:
        """Revoke the key permanently. Pending generations are still rendered, unless they are cancelled with it."""
        return self._applied(self._row().revoke(cancel_pending=cancel_pending, by=by))

    def deactivate(self, *, by: Actor = CODE) -> bool:
        return self._applied(self._row().deactivate(by=by))

    def activate(self, *, by: Actor = CODE) -> bool:
        return self._applied(self._row().activate(by=by))

    def delete(
        self, using: str | None = None, keep_parents: bool = False, *, by: Actor = CODE
    ) -> tuple[int, dict[str, int]]:
        counted = self._row(using).delete(by=by)
        self._reload()
        return counted

    def restore(self, *, by: Actor = CODE) -> bool:
        """Restore a deleted key. A revoked key stays revoked."""
        return self._applied(self._row().restore(by=by))

    def hard_delete(
        self, using: str | None = None, keep_parents: bool = False, *, by: Actor = CODE
    ) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            KeyEvent.objects.record([self], Action.REMOVED, by)
            return super().hard_delete(using=using, keep_parents=keep_parents)

    def change(self, *, by: Actor = CODE, **fields) -> bool:
        """Change settings of the key and record the old and new values of those that differ."""
        with transaction.atomic():
            before = self._row().select_for_update(no_key=True).get()
            is_active = fields.pop("is_active", before.is_active)
            if changes := self.differences(before, fields):
                self._row().update(**fields)
                KeyEvent.objects.record([before], Action.CHANGED, by, changes)
            switched = self._row().activate(by=by) if is_active else self._row().deactivate(by=by)
        return self._applied(len(changes) + switched)

    def rotate(self, *, grace: timedelta, by: Actor = CODE, **fields) -> tuple["ApiKey", str]:
        """Create a replacement with the same settings except `fields`; returns it and its token.

        The replacement works at once. This key expires after the grace, or at its own expiry if that is sooner.
        """
        if grace < timedelta(0):
            raise ValueError("A grace can't be negative.")
        with transaction.atomic():
            old = self._row().with_state().select_for_update(no_key=True).get()
            old._check_can_be_rotated()
            new, token = type(self).objects.issue(
                kind=tokens.TEST if tokens.is_test(old.prefix) else tokens.LIVE,
                by=by,
                changes={"rotated_from": old.prefix},
                **{**old.settings, **fields, "rotated_from": old},
            )
            self._row().update(expires_at=Least("expires_at", Now() + grace))
            self._reload()
            changes = {"replaced_by": new.prefix, **self.differences(old, {"expires_at": self.expires_at})}
            KeyEvent.objects.record([self], Action.ROTATED, by, changes)
        return new, token

    @property
    def lineage(self) -> RawSQL:
        """A subquery of the ids of this key and of those that it was rotated from."""
        return RawSQL(
            """WITH RECURSIVE lineage (id, rotated_from_id) AS (
                   SELECT id, rotated_from_id FROM apikeys_apikey WHERE id = %s
                   UNION SELECT key.id, key.rotated_from_id FROM apikeys_apikey key
                   JOIN lineage ON key.id = lineage.rotated_from_id
               ) SELECT id FROM lineage""",
            [self.pk],
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The editable settings of a key, which its replacement inherits."""
        return {field.name: getattr(self, field.name) for field in self._meta.concrete_fields if field.editable}

    @cached_property
    def state(self) -> str:
        """See apikeys/states.py. Lists annotate it by `with_state` instead of one query for each key."""
        return type(self).all_objects.with_state().values_list("state", flat=True).get(pk=self.pk)

    @property
    def successor(self) -> "ApiKey | None":
        return getattr(self, "replaced_by", None)

    @property
    def is_usable(self) -> bool:
        return self.state in states.USABLE

    @cached_property
    def requests_last_minute(self) -> int | None:
        """None for a key without a limit. Lists read it for all keys in one query."""
        return usage.requests_last_minute([self]).get(self.pk)

    @staticmethod
    def differences(before: "ApiKey", fields: dict[str, Any]) -> dict[str, list]:
        """Old and new value of each field that differs."""
        return {name: [getattr(before, name), new] for name, new in fields.items() if getattr(before, name) != new}

    def _check_can_be_rotated(self) -> None:
        if self.successor:
            raise TransitionRefused(f"{self} was rotated before, and replaced by {self.successor}.")
        if self.state != states.ACTIVE:
            raise TransitionRefused(f"{self} is {self.state}: only an active key can be rotated.")

    def _applied(self, count: int) -> bool:
        self._reload()
        return bool(count)

    def _reload(self) -> None:
        super()._reload()
        for name in ("state", "requests_last_minute"):
            self.__dict__.pop(name, None)
