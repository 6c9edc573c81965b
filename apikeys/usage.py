"""How much of its limit a key uses."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from apikeys.models import ApiKey


def requests_last_minute(keys: Iterable["ApiKey"]) -> dict[UUID, int]:
    """The requests of each key that count against its limit now, in one query; a key that isn't in it is unknown."""
    return {}  # nothing counts requests yet
