"""The state of a key: usable, or the reason why it is not. Times are compared with the database's clock."""

from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now

ACTIVE = "active"
GRACE = "in grace"  # replaced by another key, but usable until it expires
USABLE = (ACTIVE, GRACE)

# Conditions on a row of ApiKey. The first that applies is the state.
UNUSABLE = {
    "deleted": Q(is_deleted=True),
    "revoked": Q(revoked_at__isnull=False),
    "expired": Q(expires_at__lte=Now()),
    "inactive": Q(is_active=False),
}


def case(*usable: When, default: str) -> Case:
    """The expression for a key's state; `usable` and `default` apply to usable keys."""
    unusable = [When(condition, then=Value(state)) for state, condition in UNUSABLE.items()]
    return Case(*unusable, *usable, default=Value(default))
