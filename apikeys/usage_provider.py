"""The work done for keys, as far as transitions and listings of keys need it.

An app that does such work calls `register`; apikeys does not import it.
"""

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apikeys.models import ApiKey


class UsageProvider:
    """The default until another provider is registered: no work."""

    noun = "work"

    def admin_address(self, key: "ApiKey") -> str:
        """The page of the admin that lists it."""
        return "#"

    def by_status(self, key: "ApiKey") -> dict[str, int]:
        """Its count for every possible status."""
        return {}

    def by_day(self, key: "ApiKey", days: int) -> dict[date, int]:
        """Its count for each of the last days, including today. Days without any may be omitted."""
        return {}

    def cancel_pending(self, key: "ApiKey") -> int:
        """Cancel pending work and return its count. Must be part of the transaction in which it is called."""
        return 0


_registered = UsageProvider()


def register(work: UsageProvider) -> None:
    global _registered  # set once, when the apps are ready
    _registered = work


def get_provider() -> UsageProvider:
    return _registered
