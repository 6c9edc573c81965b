"""Keys as text and as JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from apikeys import usage_provider
from apikeys.audit import KeyEvent
from apikeys.models import ApiKey
from apikeys.rate_limit import usage
from lockngen import tables

EVENTS_SHOWN = 20
NOTHING = "–"
DATES = ("created", "last used", "expires", "revoked", "deleted")


def facts(key: ApiKey) -> dict[str, Any]:
    """A key in the JSON of `list` and `show`. Of the token it contains only the visible start."""
    return {
        "id": str(key.pk),
        "prefix": key.prefix,
        "state": key.state,
        **{name: iso(value) if isinstance(value, datetime) else value for name, value in key.settings.items()},
        "requests_last_minute": key.requests_last_minute,
        **{name: iso(getattr(key, name)) for name in ("created_at", "last_used_at", "revoked_at", "deleted_at")},
        "rotated_from": key.rotated_from_id and str(key.rotated_from_id),
        "replaced_by": key.successor and str(key.successor.pk),
    }


def more_facts(key: ApiKey) -> dict[str, Any]:
    """The same, with the fields that only `show` has."""
    provider = usage_provider.get_provider()
    return {
        **facts(key),
        provider.noun: provider.by_status(key),
        "events": [
            {"at": iso(event.at), "action": event.action, "by": event.by, "changes": event.changes}
            for event in newest_events(key)
        ],
    }


def with_usage(keys: Iterable[ApiKey]) -> list[ApiKey]:
    """The keys, each with the usage of its limit, read in one query."""
    keys = list(keys)
    used = usage.requests_last_minute(keys)
    for key in keys:
        key.requests_last_minute = used.get(key.pk)
    return keys


def newest_events(key: ApiKey) -> list[KeyEvent]:
    return list(KeyEvent.objects.filter(key_id=key.pk).order_by("-id")[:EVENTS_SHOWN])


def table(keys: Iterable[ApiKey]) -> str:
    head = ("ID", "PREFIX", "NAME", "STATE", "LIMIT", "CREATED", "LAST USED", "EXPIRES")
    return "\n".join(tables.table([head, *map(row, keys)]))


def row(key: ApiKey) -> tuple[str, ...]:
    times = (minute(key.created_at), minute(key.last_used_at), minute(key.expires_at))
    return (str(key.pk), key.prefix, printable(key.name), key.state, str(key.rate_limit or "none"), *times)


def details(key: ApiKey) -> str:
    provider = usage_provider.get_provider()
    counts = [f"{count} {status}" for status, count in provider.by_status(key).items() if count]
    lines = {
        "name": printable(key.name),
        "id": key.pk,
        "token": f"{key.prefix}…",
        "state": key.state,
        "limit": f"{key.rate_limit} requests a minute" if key.rate_limit else "none",
        "requests in the last minute": NOTHING if key.requests_last_minute is None else key.requests_last_minute,
        "quota": f"{key.max_pending} unfinished generations" if key.max_pending else "none",
        "priority": key.priority,
        "is active": "yes" if key.is_active else "no",
        provider.noun: ", ".join(counts) or "none",
        **{name: minute(getattr(key, f"{name.replace(' ', '_')}_at")) for name in DATES},
        "rotated from": key.rotated_from_id or NOTHING,
        "replaced by": key.successor.pk if key.successor else NOTHING,
    }
    history = [
        f"  {minute(event.at)}  {event.get_action_display().lower()} by {printable(event.by)}"
        + (f": {printable(event.summary)}" if event.summary else "")
        for event in newest_events(key)
    ]
    return "\n".join([*tables.table(lines.items()), "history, newest first", *history])


def minute(time: datetime | None) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if time else NOTHING


def iso(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def printable(text: str) -> str:
    """The text without characters that move a terminal's cursor or break a line."""
    return "".join(character if character.isprintable() else " " for character in text)
