"""The audit log of keys. The database rejects changes to its rows and their removal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F
from django.db.models.functions import Now


class Via(models.TextChoices):
    ADMIN = "admin"
    COMMAND = "command"
    CODE = "code"  # no actor was given


class Action(models.TextChoices):
    CREATED = "created"
    CHANGED = "changed"
    ROTATED = "rotated"
    DEACTIVATED = "deactivated"
    ACTIVATED = "activated"
    REVOKED = "revoked"
    CANCELLED = "cancelled", "Pending work cancelled"
    DELETED = "deleted"
    RESTORED = "restored"
    REMOVED = "removed", "Removed permanently"


@dataclass(frozen=True)
class Actor:
    via: Via
    name: str = ""
    user_id: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.via})" if self.name else str(self.via)


CODE = Actor(Via.CODE)


class KeyEventQuerySet(models.QuerySet):
    def record(self, keys: Iterable[models.Model], action: Action, by: Actor, changes: dict[str, Any] | None = None):
        """Record the same event for each key. Called in the transaction that makes the change."""
        events = [
            self.model(
                key=key,
                prefix=key.prefix,
                name=key.name,
                action=action,
                changes=changes or {},
                via=by.via,
                actor=by.name[: self.model.ACTOR_LENGTH],
                user_id=by.user_id,
            )
            for key in keys
        ]
        return self.bulk_create(events)


class KeyEvent(models.Model):
    ACTOR_LENGTH = 150  # of a username in Django
    Action = Action

    # No constraint in the database: the event outlives the key and therefore stores its prefix and name.
    key = models.ForeignKey(
        "apikeys.ApiKey", models.DO_NOTHING, related_name="events", db_constraint=False, db_index=False
    )
    prefix = models.CharField(max_length=20)
    name = models.CharField(max_length=100)
    action = models.CharField(max_length=20, choices=Action)
    changes = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()), encoder=DjangoJSONEncoder)
    via = models.CharField(max_length=10, choices=Via)
    actor = models.CharField(max_length=ACTOR_LENGTH, blank=True)
    user_id = models.BigIntegerField(null=True, help_text="The id of the admin's user.")
    at = models.DateTimeField(db_default=Now())

    objects = models.Manager.from_queryset(KeyEventQuerySet)()

    class Meta:
        verbose_name = "key event"
        indexes = [
            # A key's page and `apikey show`: the newest events of a key.
            models.Index("key", F("id").desc(), name="keyevent_by_key"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…) {self.get_action_display()}"

    @property
    def by(self) -> str:
        return str(Actor(self.via, self.actor))

    @property
    def summary(self) -> str:
        """What changed, as text: old and new values of settings, or other details."""
        return ", ".join(
            f"{name}: {value[0]} → {value[1]}" if isinstance(value, list) else f"{name}: {value}"
            for name, value in self.changes.items()
        )
