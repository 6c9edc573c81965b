"""Combinations of settings that can't work, told by `manage.py check` and before the web starts."""

import os
from ipaddress import ip_network

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core import checks
from django.core.checks.security.base import check_secret_key, check_secret_key_fallbacks

# The queue runs tasks in asyncio's default executor, which has as many threads as this and no more.
MOST_RENDERS_AT_ONCE = min(32, (os.cpu_count() or 1) + 4)


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


@checks.register
def worker_concurrency_has_threads(app_configs, **kwargs) -> list[checks.CheckMessage]:
    if settings.WORKER_CONCURRENCY <= MOST_RENDERS_AT_ONCE:
        return []
    return [
        checks.Error(
            f"WORKER_CONCURRENCY is {settings.WORKER_CONCURRENCY}, and one worker on this machine "
            f"runs {MOST_RENDERS_AT_ONCE} renders at once at most.",
            hint="Lower it and start more workers.",
            id="lockngen.E002",
        )
    ]


@checks.register
def migrations_are_not_automatic_in_production(app_configs, **kwargs) -> list[checks.CheckMessage]:
    if settings.DEBUG or not settings.AUTO_MIGRATE:
        return []
    return [
        checks.Error(
            "AUTO_MIGRATE is on and DEBUG is off: in production, somebody decides when the schema changes.",
            hint="Set AUTO_MIGRATE=off and run manage.py migrate before a new release starts.",
            id="lockngen.E003",
        )
    ]


@checks.register
def static_files_are_collected(app_configs, **kwargs) -> list[checks.CheckMessage]:
    if not isinstance(staticfiles_storage, ManifestFilesMixin) or staticfiles_storage.hashed_files:
        return []
    return [
        checks.Warning(
            f"There are no static files in {settings.STATIC_ROOT}: the pages that need them will not open.",
            hint="Run manage.py collectstatic.",
            id="lockngen.W001",
        )
    ]


@checks.register
def trusted_proxies_are_addresses(app_configs, **kwargs) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"TRUSTED_PROXIES names {proxy!r}, which is no address.",
            hint="It takes addresses and networks, such as 10.0.0.1 or 10.0.0.0/8, separated by commas.",
            id="lockngen.E010",
        )
        for proxy in settings.TRUSTED_PROXIES
        if not _is_network(proxy)
    ]


@checks.register(checks.Tags.security, deploy=True)
def debug_is_off(app_configs, **kwargs) -> list[checks.CheckMessage]:
    """Django warns of it as well; but who runs `check --deploy` is to see it fail."""
    if not settings.DEBUG:
        return []
    return [
        checks.Error(
            "DEBUG is on: the development key, whose token is public, opens every door.",
            hint="Set DEBUG=off, and remove the .env of a development checkout.",
            id="lockngen.E011",
        )
    ]


@checks.register(checks.Tags.security, deploy=True)
def secret_key_is_strong(app_configs, **kwargs) -> list[checks.CheckMessage]:
    """By Django's own rules, which warn of it and no more."""
    if not check_secret_key(app_configs) + check_secret_key_fallbacks(app_configs):
        return []
    return [
        checks.Error(
            "SECRET_KEY, or one of SECRET_KEY_FALLBACKS, can be guessed: it is short, or repeats a few characters.",
            hint="Set 50 or more random characters, such as openssl rand -hex 32 prints.",
            id="lockngen.E012",
        )
    ]


def _is_network(text: str) -> bool:
    try:
        return text == "*" or bool(ip_network(text))
    except ValueError:
        return False
