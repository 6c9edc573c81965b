"""Combinations of settings that can't work, told at start-up and by `manage.py check`."""

from django.conf import settings
from django.core import checks


@checks.register
def pool_sizes_fit(app_configs, **kwargs) -> list[checks.CheckMessage]:
    if settings.DB_POOL_MIN_SIZE <= settings.DB_POOL_MAX_SIZE:
        return []
    return [
        checks.Error(
            f"DB_POOL_MIN_SIZE ({settings.DB_POOL_MIN_SIZE}) is larger than "
            f"DB_POOL_MAX_SIZE ({settings.DB_POOL_MAX_SIZE}).",
            hint="Lower the one or raise the other.",
            id="lockngen.E001",
        )
    ]
