"""Limits on a key's concurrent streams, waits and downloads in this process, which the rate limit doesn't count."""

from django.conf import settings

from apikeys.models import ApiKey
from lockngen.web.problems import Problem
from lockngen.web.slots import Full, HolderFull, Slot, Slots

RETRY_AFTER = 5  # seconds

_waiting = Slots(lambda: settings.WEB_WAITING, lambda: settings.WEB_WAITING_PER_KEY)
_downloads = Slots(lambda: settings.WEB_CONNECTIONS, lambda: settings.WEB_DOWNLOADS_PER_KEY)


def wait(key: ApiKey) -> Slot:
    """For an event stream or a call that waits for the end of a generation."""
    return _take(_waiting, key, "event streams and waiting calls", "Read the generation instead, or try again.")


def download(key: ApiKey) -> Slot:
    return _take(_downloads, key, "downloads", "Try again when one has ended.")


def _take(slots: Slots, key: ApiKey, what: str, remedy: str) -> Slot:
    try:
        return slots.take(key.pk)
    except Full:
        status, reason = 503, f"The service has reached its limit of {what}."
    except HolderFull:
        status, reason = 429, f"The key has reached its limit of concurrent {what}."
    headers = {"Retry-After": str(RETRY_AFTER)}
    raise Problem(status, f"{reason} {remedy}", type="urn:lockngen:problem:too-many-at-once", headers=headers)
