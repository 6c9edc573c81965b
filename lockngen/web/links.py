"""Absolute links, in the one form that clients get to see."""

from django.conf import settings
from django.http import HttpRequest


def absolute(request: HttpRequest, path: str) -> str:
    """A path under PUBLIC_URL, or under the address that the client used where that is not set."""
    return settings.PUBLIC_URL + path if settings.PUBLIC_URL else request.build_absolute_uri(path)
