"""The work that is done for keys, as far as a key's own life touches it.

Whoever does such work says so by `register`: apikeys itself knows nothing of it.
"""

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apikeys.models import ApiKey


class UsageProvider:
    """No work at all, until some other is registered."""

    noun = "work"

    def admin_address(self, key: "ApiKey") -> str:
        """The page of the admin that lists it."""
        return "#"

    def by_status(self, key: "ApiKey") -> dict[str, int]:
        """How much there is of it, by every status that it can have."""
        return {}

    def by_day(self, key: "ApiKey", days: int) -> dict[date, int]:
        """How much was asked for on each of the last days, today included. Days without any may be left out."""
        return {}

    def cancel_pending(self, key: "ApiKey") -> int:
        """Cancel what waits and return how much that was. Called within a transaction, whose part it has to be."""
        return 0


_registered = UsageProvider()


def register(work: UsageProvider) -> None:
    global _registered  # set once, when the apps are ready
    _registered = work


def get_provider() -> UsageProvider:
    return _registered
