"""System checks for invalid combinations of settings; run by `manage.py check` and before the web starts."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core import checks
from django.core.checks.security.base import check_secret_key, check_secret_key_fallbacks
from django.db import DatabaseError, connection

from lockngen import addresses
from lockngen.database import timeouts

LISTEN_CONNECTIONS = 1  # per web process, in addition to its pool
QUEUE_CONNECTIONS = 8  # per worker, in addition to those of its renders: of the queue and of webhooks


@checks.register
def pool_sizes_fit(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.DB_POOL_MIN_SIZE > settings.DB_POOL_MAX_SIZE:
        yield checks.Error(
            f"DB_POOL_MIN_SIZE ({settings.DB_POOL_MIN_SIZE}) is larger than "
            f"DB_POOL_MAX_SIZE ({settings.DB_POOL_MAX_SIZE}).",
            hint="Lower the one or raise the other.",
            id="lockngen.E001",
        )


@checks.register
def no_connections_persist_beside_the_pool(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.DATABASES["default"]["CONN_MAX_AGE"] != 0:
        yield checks.Error(
            "CONN_MAX_AGE keeps connections open in their threads; they must return to the pool.",
            hint="Set it to 0.",
            id="lockngen.E004",
        )


@checks.register(checks.Tags.database)
def pools_fit_the_server(app_configs, databases=None, **kwargs) -> Iterator[checks.CheckMessage]:
    """Whether the server allows enough connections for one web and one worker. The number of machines is unknown."""
    # Behind PgBouncer the pools' connections are its clients.
    if not databases or settings.DB_PGBOUNCER or (room := _allowed_connections()) is None:
        return
    web = settings.WEB_WORKERS * (settings.DB_POOL_MAX_SIZE + LISTEN_CONNECTIONS)
    worker = min(settings.WORKER_CONCURRENCY, settings.DB_POOL_MAX_SIZE) + QUEUE_CONNECTIONS
    if web + worker > room:
        yield checks.Error(
            f"WEB_WORKERS × (DB_POOL_MAX_SIZE + {LISTEN_CONNECTIONS}) ({web}) and a worker ({worker}) take "
            f"{web + worker} connections, and the server has {room}.",
            hint="Lower them, or raise max_connections of the server.",
            id="lockngen.E005",
        )


def _allowed_connections() -> int | None:
    """How many connections the server allows ordinary users, or None if it is unavailable."""
    try:
        ((allowed,),) = connection.query(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        )
        return allowed
    except DatabaseError:
        return None


@checks.register
def worker_concurrency_has_threads(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.WORKER_CONCURRENCY > settings.MAX_CONCURRENT_RENDERS:
        yield checks.Error(
            f"WORKER_CONCURRENCY is {settings.WORKER_CONCURRENCY}, and a worker on this machine "
            f"runs at most {settings.MAX_CONCURRENT_RENDERS} renders at once.",
            hint="Lower it and start more workers.",
            id="lockngen.E002",
        )


@checks.register
def migrations_are_not_automatic_in_production(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.AUTO_MIGRATE and not settings.DEBUG:
        yield checks.Error(
            "AUTO_MIGRATE is on and DEBUG is off: in production, migrations must be run explicitly.",
            hint="Set AUTO_MIGRATE=off and run manage.py migrate before a new release starts.",
            id="lockngen.E003",
        )


@checks.register
def direct_url_bypasses_pgbouncer(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    direct = settings.DATABASE_DIRECT
    if settings.DB_PGBOUNCER and (
        not direct or server_address(direct) == server_address(settings.DATABASES["default"])
    ):
        yield checks.Error(
            "DB_PGBOUNCER is on, and DATABASE_DIRECT_URL does not bypass it: it is "
            f"{'the server of DATABASE_URL' if direct else 'not set'}.",
            hint="Set DATABASE_URL to PgBouncer and DATABASE_DIRECT_URL to PostgreSQL itself.",
            id="lockngen.E006",
        )


def server_address(database: dict[str, Any]) -> tuple:
    options = database.get("OPTIONS", {})
    return database["HOST"] or options.get("host"), database["PORT"] or options.get("port")


@checks.register(checks.Tags.database)
def timeouts_are_in_force(app_configs, databases=None, **kwargs) -> Iterator[checks.CheckMessage]:
    """Read from a session, because a proxy may have dropped the startup options silently."""
    mismatch = None
    if "default" in (databases or ()):
        with suppress(DatabaseError):  # unavailable: other checks and commands report it
            mismatch = timeouts.find_mismatch(connection)
    if mismatch:
        # Behind PgBouncer changes take effect late, which must not prevent an old or a new release from starting.
        level = checks.INFO if settings.DB_PGBOUNCER else checks.WARNING
        yield checks.CheckMessage(level, f"Not in force: {mismatch[0]}.", hint=mismatch[1], id="lockngen.W002")


@checks.register
def static_files_are_collected(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if isinstance(staticfiles_storage, ManifestFilesMixin) and not staticfiles_storage.hashed_files:
        yield checks.Warning(
            f"There are no static files in {settings.STATIC_ROOT}: pages that need them fail.",
            hint="Run manage.py collectstatic.",
            id="lockngen.W001",
        )


@checks.register
def trusted_proxies_are_addresses(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    for proxy in settings.TRUSTED_PROXIES:
        if proxy != "*" and addresses.network(proxy) is None:
            yield checks.Error(
                f"TRUSTED_PROXIES contains {proxy!r}, which is not an address.",
                hint="It takes addresses and networks, such as 10.0.0.1 or 10.0.0.0/8, separated by commas.",
                id="lockngen.E007",
            )


@checks.register(checks.Tags.security, deploy=True)
def debug_is_off(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    """Django only warns; here `check --deploy` fails."""
    if settings.DEBUG:
        yield checks.Error(
            "DEBUG is on: the development key, whose token is public, is accepted.",
            hint="Set DEBUG=off, and remove the .env of a development checkout.",
            id="lockngen.E008",
        )


@checks.register(checks.Tags.security, deploy=True)
def secret_key_is_strong(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    """By Django's own rules, as an error instead of a warning."""
    if check_secret_key(app_configs) + check_secret_key_fallbacks(app_configs):
        yield checks.Error(
            "SECRET_KEY, or one of SECRET_KEY_FALLBACKS, can be guessed: it is short, or repeats a few characters.",
            hint="Set 50 or more random characters, such as openssl rand -hex 32 prints.",
            id="lockngen.E009",
        )
