"""Failed logins to the admin: the log line, and the name under which they are counted."""

import logging

from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from lockngen.web.proxies import client_address

logger = logging.getLogger(__name__)
LONGEST_NAME = 150  # characters, as in Django's user model


def counted_name(request: HttpRequest, credentials: dict | None = None) -> str:
    """The name that a login was tried with, in one case and without control characters."""
    name = (credentials or {}).get("username") or request.POST.get("username", "")
    return printable(name).casefold()


def printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(name)[:LONGEST_NAME])


@receiver(user_login_failed)
def log_failure(sender, credentials: dict, request: HttpRequest | None = None, **kwargs) -> None:
    remote = client_address(request) if request else "none"
    logger.warning("Login failed: user=%r remote=%s", printable(credentials.get("username", "")), remote)
