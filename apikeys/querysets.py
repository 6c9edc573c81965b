"""Queries and bulk transitions of keys. ApiKey has the same transitions for one key."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Model, OuterRef, Value, When
from django.db.models.functions import Now

from apikeys import states, tokens, usage_provider
from apikeys.audit import CODE, Action, Actor, KeyEvent
from apikeys.rate_limit.statement import AuthenticationQuerySet

# The key shared by development machines. Its token is public, so it is accepted only with DEBUG on.
DEVELOPMENT_TOKEN = tokens.sign(tokens.TEST + "LockNGenDevelopmentKeyNeverUseInProduction0")
DEVELOPMENT_NAME = "Development"


class TransitionRefused(Exception):
    """The key's state does not allow the transition. The text is the reason."""


class ApiKeyQuerySet(AuthenticationQuerySet):
    def usable(self):
        return self.filter(*(~condition for condition in states.UNUSABLE.values()))

    def issue(
        self, *, kind: str = tokens.LIVE, by: Actor = CODE, changes: dict[str, Any] | None = None, **fields
    ) -> tuple[Model, str]:
        """Create a key; returns it with its token, which is not stored and can be shown only now."""
        token = tokens.make(kind)
        with transaction.atomic():
            key = self.create(key_hash=tokens.digest(token), prefix=tokens.visible(token), **fields)
            KeyEvent.objects.record([key], Action.CREATED, by, changes)
        return key, token

    def ensure_development(self, *, by: Actor = CODE) -> Model:
        """Create the development key or make it usable again. Migration 0002 contains the same row."""
        key_hash = tokens.digest(DEVELOPMENT_TOKEN)
        fields = {
            "prefix": tokens.visible(DEVELOPMENT_TOKEN),
            "name": DEVELOPMENT_NAME,
            "rate_limit": 0,
            "is_active": True,
            "expires_at": None,
            "revoked_at": None,
            "is_deleted": False,
            "deleted_at": None,
        }
        with transaction.atomic():
            before = self.model.all_objects.filter(key_hash=key_hash).first()
            key, created = self.model.all_objects.update_or_create(key_hash=key_hash, defaults=fields)
            if created:
                KeyEvent.objects.record([key], Action.CREATED, by)
            elif changes := key.differences(before, fields):
                KeyEvent.objects.record([key], Action.CHANGED, by, changes)
        return key

    def matching(self, text: str):
        """The keys that match an id, a whole token, or the start of one."""
        if tokens.is_valid(text):
            return self.filter(key_hash=tokens.digest(text))
        with suppress(ValueError):
            return self.filter(pk=UUID(text))
        # A part of the secret is required, so that an empty variable in a script does not match the only key.
        start = tokens.visible(text.rstrip("…"))
        return self.filter(prefix__startswith=start) if len(start) > len(tokens.LIVE) else self.none()

    def with_state(self):
        # A subquery, because rows of an outer join can't be locked.
        is_replaced = Exists(self.model.all_objects.filter(rotated_from=OuterRef("pk")))
        return self.annotate(state=states.case(When(is_replaced, Value(states.GRACE)), default=states.ACTIVE))

    # Transitions. Each returns the number of changed rows and records an event for each in the same transaction.

    def revoke(self, *, cancel_pending: bool = False, by: Actor = CODE) -> int:
        usage = usage_provider.get_provider()
        with transaction.atomic():
            keys = list(self)  # evaluated now, because revoked keys may no longer match this queryset
            count = self.filter(revoked_at__isnull=True)._record_change(Action.REVOKED, by, revoked_at=Now())
            if cancel_pending:
                for key in keys:
                    if cancelled := usage.cancel_pending(key):
                        KeyEvent.objects.record([key], Action.CANCELLED, by, {usage.noun: cancelled})
        return count

    def deactivate(self, *, by: Actor = CODE) -> int:
        return self.filter(is_active=True)._record_change(Action.DEACTIVATED, by, is_active=False)

    def activate(self, *, by: Actor = CODE) -> int:
        """Activate inactive keys, except revoked ones."""
        return self.filter(is_active=False, revoked_at__isnull=True)._record_change(
            Action.ACTIVATED, by, is_active=True
        )

    def delete(self, *, by: Actor = CODE) -> tuple[int, dict[str, int]]:
        return self._counted(self.live()._record_change(Action.DELETED, by, is_deleted=True, deleted_at=Now()))

    def restore(self, *, by: Actor = CODE) -> int:
        return self.deleted()._record_change(Action.RESTORED, by, is_deleted=False, deleted_at=None)

    def hard_delete(self, *, by: Actor = CODE) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            KeyEvent.objects.record(self, Action.REMOVED, by)
            return super().hard_delete()

    for transition in (revoke, deactivate, activate, delete, restore, hard_delete):
        # As in Django: prevents `ApiKey.objects.revoke()` on all keys by mistake.
        transition.alters_data = transition.queryset_only = True
    del transition

    def _record_change(self, action: Action, by: Actor, **fields) -> int:
        with transaction.atomic():
            # Locked first, in one order: the events match the changes, and of two concurrent calls one changes nothing.
            keys = list(self.order_by("pk").select_for_update(no_key=True))
            self.model.all_objects.filter(pk__in=[key.pk for key in keys]).update(**fields)
            KeyEvent.objects.record(keys, action, by)
        return len(keys)
