"""Where a page ended, as a short opaque text: the last id in URL-safe base64."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID


def encode(id: UUID) -> str:
    return urlsafe_b64encode(id.bytes).decode().rstrip("=")


def decode(cursor: str) -> UUID:
    """The id in a cursor. Raises ValueError for anything that `encode` doesn't make."""
    try:
        id = UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        id = None
    # The decoder passes over foreign characters; only the very text that was handed out is a cursor.
    if id is None or encode(id) != cursor:
        raise ValueError("it is not the next_cursor of an earlier page")
    return id
