"""Pagination cursors: the last id of a page in URL-safe base64."""

from uuid import UUID

from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode


def encode(id: UUID) -> str:
    return urlsafe_base64_encode(id.bytes)


def decode(cursor: str) -> UUID:
    """The id in a cursor. Raises ValueError for any text that `encode` does not produce."""
    try:
        id = UUID(bytes=urlsafe_base64_decode(cursor))
    except ValueError:
        id = None
    # The decoder skips invalid characters, so the text must equal the encoded id.
    if id is None or encode(id) != cursor:
        raise ValueError("it is not the next_cursor of a page")
    return id
