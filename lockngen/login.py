"""Failed logins to the admin: the log line, and the name under which they are counted."""

import logging

from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from lockngen.plain import plain
from lockngen.web.proxies import client_address

logger = logging.getLogger(__name__)
MAX_NAME = 150  # characters, as in Django's user model


def counted_name(request: HttpRequest, credentials: dict | None = None) -> str:
    """The name used in a login, in lower case and without control characters."""
    name = (credentials or {}).get("username") or request.POST.get("username", "")
    return plain(name, MAX_NAME).casefold()


@receiver(user_login_failed)
def log_failure(sender, credentials: dict, request: HttpRequest | None = None, **kwargs) -> None:
    remote = client_address(request) if request else "none"
    logger.warning("Login failed: user=%r remote=%s", plain(credentials.get("username", ""), MAX_NAME), remote)
