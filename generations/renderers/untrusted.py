"""Parts of JSON from another program, which may have any type."""

import re
from typing import Any

from lockngen.plain import plain

PLACE = re.compile(r"\S*[/\\@]\S*|\S+:\d+\S*|\S*\d+\.\d+\.\d+\.\d+\S*")  # a path, a host, an address


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def public(text: Any, longest: int) -> str:
    """A server's text for clients: without its paths, hosts and addresses, and without a period at the end."""
    return PLACE.sub("…", plain(text, longest)).rstrip(".")
