"""States of keys, and bulk transitions. ApiKey has the same methods for one key."""

from contextlib import suppress
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.db.models.functions import Now

from apikeys import tokens, usage_provider
from apikeys.audit import CODE, Action, Actor, KeyEvent
from lockngen.softdelete import SoftDeleteQuerySet

ACTIVE = "active"
# Why a key is not usable, as conditions on a row by the database's clock. The first that applies is the state.
UNUSABLE_STATES = {
    "deleted": Q(is_deleted=True),
    "revoked": Q(revoked_at__isnull=False),
    "expired": Q(expires_at__lte=Now()),
    "inactive": Q(is_active=False),
}


GRACE = "in grace"  # replaced by another key, but usable until it expires
WORKING = (ACTIVE, GRACE)


class TransitionRefused(Exception):
    """The key's state does not allow the transition. The text is the reason."""


class KeyStateQuerySet(SoftDeleteQuerySet):
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
        """Annotate `state`: "active", "in grace", or why the key is not usable."""
        dead = [When(condition, then=Value(state)) for state, condition in UNUSABLE_STATES.items()]
        # A subquery, because rows of an outer join can't be locked.
        is_replaced = Exists(self.model.all_objects.filter(rotated_from=OuterRef("pk")))
        return self.annotate(state=Case(*dead, When(is_replaced, then=Value(GRACE)), default=Value(ACTIVE)))

    # Transitions. Each returns the number of changed rows and records an event for each in the same transaction.

    def revoke(self, *, cancel_pending: bool = False, by: Actor = CODE) -> int:
        with transaction.atomic():
            keys = list(self)  # evaluated now, because revoked keys may no longer match this queryset
            count = self.filter(revoked_at__isnull=True)._record_change(Action.REVOKED, by, revoked_at=Now())
            if cancel_pending:
                self._cancel_pending(keys, by)
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

    for change in (revoke, deactivate, activate, delete, restore, hard_delete):
        # As in Django: prevents `ApiKey.objects.revoke()` on all keys by mistake.
        change.alters_data = change.queryset_only = True
    del change

    def _record_change(self, action: Action, by: Actor, **fields) -> int:
        with transaction.atomic():
            # Locked first, in one order: the events match the changes, and of two concurrent calls one changes nothing.
            keys = list(self.order_by("pk").select_for_update(no_key=True))
            self.model.all_objects.filter(pk__in=[key.pk for key in keys]).update(**fields)
            KeyEvent.objects.record(keys, action, by)
        return len(keys)

    def _cancel_pending(self, keys: list, by: Actor) -> None:
        for key in keys:
            if count := usage_provider.get_provider().cancel_pending(key):
                KeyEvent.objects.record([key], Action.CANCELLED, by, {usage_provider.get_provider().noun: count})
