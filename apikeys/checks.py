from django.conf import settings
from django.core import checks
from django.db import Error

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN


@checks.register(checks.Tags.security, deploy=True)
def development_key_is_not_active(app_configs, **kwargs) -> list[checks.CheckMessage]:
    """It opens nothing with DEBUG off, but then nor has it any business there."""
    if settings.DEBUG:
        return []
    try:
        is_active = ApiKey.objects.usable().filter(key_hash=tokens.digest(DEVELOPMENT_TOKEN)).exists()
    except Error:
        unasked = "The database could not be asked whether the development key is active in it."
        return [checks.Warning(unasked, hint="Run the check where DATABASE_URL can be reached.", id="apikeys.W001")]
    if not is_active:
        return []
    return [
        checks.Error(
            "The development key, whose token is public, is active in the database.",
            hint="Delete it in the admin, and give every deployment a database of its own.",
            id="apikeys.E001",
        )
    ]
