"""The states of keys and the changes that concern many of them. ApiKey has the same words for one."""

from contextlib import suppress
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.db.models.functions import Now

from apikeys import tokens, usage_provider
from apikeys.audit import CODE, Action, Actor, KeyEvent
from lockngen.softdelete import SoftDeleteQuerySet

ACTIVE = "active"
# Why a key opens nothing, as conditions of a row by the database's clock. Of several the first counts.
UNUSABLE_STATES = {
    "deleted": Q(is_deleted=True),
    "revoked": Q(revoked_at__isnull=False),
    "expired": Q(expires_at__lte=Now()),
    "inactive": Q(is_active=False),
}


GRACE = "in grace"  # works until it expires, while the key that replaces it works already
WORKING = (ACTIVE, GRACE)


class TransitionRefused(Exception):
    """What the state of a key doesn't allow. The text says why."""


class KeyStateQuerySet(SoftDeleteQuerySet):
    def matching(self, text: str):
        """The keys that a person means by an id, a whole token, or the start of one."""
        if tokens.is_valid(text):
            return self.filter(key_hash=tokens.digest(text))
        with suppress(ValueError):
            return self.filter(pk=UUID(text))
        # Some of the secret has to be in it: an empty variable in a script must not mean the only key there is.
        start = tokens.visible(text.rstrip("…"))
        return self.filter(prefix__startswith=start) if len(start) > len(tokens.LIVE) else self.none()

    def with_state(self):
        """Each key with its `state`: "active" or "in grace", or why it doesn't work."""
        dead = [When(condition, then=Value(state)) for state, condition in UNUSABLE_STATES.items()]
        # Not by the relation: rows of an outer join can't be locked.
        is_replaced = Exists(self.model.all_objects.filter(rotated_from=OuterRef("pk")))
        return self.annotate(state=Case(*dead, When(is_replaced, then=Value(GRACE)), default=Value(ACTIVE)))

    # The life of keys. Each returns how many rows it changed, and notes each of these in the same transaction.

    def revoke(self, *, cancel_pending: bool = False, by: Actor = CODE) -> int:
        with transaction.atomic():
            keys = list(self)  # now, as revoking may take them out of this very queryset
            count = self.filter(revoked_at__isnull=True)._record_change(Action.REVOKED, by, revoked_at=Now())
            if cancel_pending:
                self._cancel_pending(keys, by)
        return count

    def deactivate(self, *, by: Actor = CODE) -> int:
        return self.filter(is_active=True)._record_change(Action.DEACTIVATED, by, is_active=False)

    def activate(self, *, by: Actor = CODE) -> int:
        """Switch the inactive ones on again. Revoked ones stay as they are."""
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
        # As in Django: `ApiKey.objects.revoke()` is too easily written by mistake.
        change.alters_data = change.queryset_only = True
    del change

    def _record_change(self, action: Action, by: Actor, **fields) -> int:
        with transaction.atomic():
            # Locked first, in one order: what is noted is what is changed, and of two at once one finds nothing to do.
            keys = list(self.order_by("pk").select_for_update(no_key=True))
            self.model.all_objects.filter(pk__in=[key.pk for key in keys]).update(**fields)
            KeyEvent.objects.record(keys, action, by)
        return len(keys)

    def _cancel_pending(self, keys: list, by: Actor) -> None:
        for key in keys:
            if count := usage_provider.get_provider().cancel_pending(key):
                KeyEvent.objects.record([key], Action.CANCELLED, by, {usage_provider.get_provider().noun: count})
