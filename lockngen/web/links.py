"""Absolute links for clients."""

from django.conf import settings
from django.http import HttpRequest


def base(request: HttpRequest) -> str:
    """The start of links: PUBLIC_URL or, if it is not set, the scheme and host that the client used."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
