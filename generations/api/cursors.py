"""Pagination cursors: the last id of a page in URL-safe base64."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID


def encode(id: UUID) -> str:
    return urlsafe_b64encode(id.bytes).decode().rstrip("=")


def decode(cursor: str) -> UUID:
    """The id in a cursor. Raises ValueError for any text that `encode` does not produce."""
    try:
        id = UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        id = None
    # The decoder skips invalid characters, so the text must equal the encoded id.
    if id is None or encode(id) != cursor:
        raise ValueError("it is not the next_cursor of a page")
    return id
