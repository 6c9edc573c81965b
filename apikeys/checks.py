from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.db import Error

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN


@checks.register(checks.Tags.security, deploy=True)
def development_key_is_not_active(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    """It is not accepted with DEBUG off, but it doesn't belong in a production database."""
    if settings.DEBUG:
        return
    try:
        is_active = ApiKey.objects.usable().filter(key_hash=tokens.digest(DEVELOPMENT_TOKEN)).exists()
    except Error:
        message = "The database can't be queried for the development key."
        yield checks.Warning(message, hint="Run the check where DATABASE_URL can be reached.", id="apikeys.W001")
        return
    if is_active:
        yield checks.Error(
            "The development key, whose token is public, is active in the database.",
            hint="Delete it in the admin, and use a separate database for each deployment.",
            id="apikeys.E001",
        )
