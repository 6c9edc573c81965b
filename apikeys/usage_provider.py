"""The usage of keys, as far as their transitions, API, admin and command need it.

An app that does work for keys registers a provider; apikeys does not import it.
"""

from datetime import date

from django.db.models import Model


class UsageProvider:
    """The default until another provider is registered: no usage."""

    noun = "work"  # what is counted, in the plural

    def admin_address(self, key: Model) -> str:
        """The page of the admin that lists it."""
        return "#"

    def unfinished(self, key: Model) -> int:
        """The count that the key's quota limits."""
        return 0

    def by_status(self, key: Model) -> dict[str, int]:
        """The count for every possible status."""
        return {}

    def by_day(self, key: Model, days: int) -> dict[date, int]:
        """The count for each of the last days, including today. Days without any may be omitted."""
        return {}

    def cancel_pending(self, key: Model) -> int:
        """Cancel what is pending and return its count. Must be part of the transaction in which it is called."""
        return 0


_registered = UsageProvider()


def register(provider: UsageProvider) -> None:
    global _registered  # set once, when the apps are ready
    _registered = provider


def get_provider() -> UsageProvider:
    return _registered
