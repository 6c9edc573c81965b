"""Readiness (`/ht/`: database, migrations and pool are in order). Liveness is in lockngen/web/application.py.

`/ht/storage` and `/ht/workers` are separate, as the web can serve without either for a while.
"""

import abc
import asyncio
import contextlib
import hmac
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, ClassVar

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView

from lockngen.database.base import IS_READ_ONLY, Connection
from lockngen.plain import one_line

# A frozen server blocks these threads and no others: later checks time out while they wait for one. An executor for
# each request would wait for its threads to end.
THREADS = ThreadPoolExecutor(max_workers=6, thread_name_prefix="health")
STORAGE_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="storage")
SERVER = f"SELECT current_setting('server_version'), {IS_READ_ONLY}"
STAFF_TIMEOUT = 1  # seconds
PROBES = ".health"  # the folder of the files with which the storage is probed
STORAGE_PROBE_INTERVAL = 30  # seconds; requests may be frequent, and each probe writes a file


@dataclass(repr=False)
class Check(HealthCheck):
    """A check with figures. They and the reason of a failure are shown only with `disclose`."""

    disclose: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
    warning: str = ""
    timeout = timedelta(seconds=4)  # django-health-check adds a second

    def __repr__(self) -> str:
        return type(self).__name__.lower()

    @property
    def labels(self) -> dict[str, str]:
        return {"check": repr(self)}

    def run(self) -> None:
        try:
            self.measure()
        except (DatabaseError, ServiceUnavailable) as error:
            reason = getattr(error, "message", None) or one_line(error)
            raise ServiceUnavailable(reason if self.disclose else "see the log") from error
        finally:
            # These threads serve no request, so nothing else returns their connection to the pool.
            connection.close()

    @abc.abstractmethod
    def measure(self) -> None:
        """Fill in the figures. Raises DatabaseError or ServiceUnavailable."""


class Database(Check):
    def measure(self) -> None:
        connection.ensure_connection()
        started = time.perf_counter()
        ((self.figures["server_version"], is_read_only),) = connection.query(SERVER)
        self.figures["round_trip_ms"] = _milliseconds_since(started)
        if is_read_only:
            connection.pool.drain()  # after a failover, new connections may reach the new primary
            raise ServiceUnavailable("read-only: the server is a standby, or default_transaction_read_only is on")
        self.figures["connect_ms"] = Connection.connect_ms  # of the pool's newest connection


class Migrations(Check):
    """Fails if a migration of this release is missing.

    Unknown migrations belong to a newer release: during a rolling deploy the old one still serves.
    """

    def measure(self) -> None:
        executor = MigrationExecutor(connection)
        loader = executor.loader
        plan = executor.migration_plan(loader.graph.leaf_nodes())
        known = {*loader.disk_migrations, *(old for new in loader.disk_migrations.values() for old in new.replaces)}
        self.figures["missing"] = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
        self.figures["unknown"] = sorted(".".join(name) for name in set(loader.applied_migrations) - known)
        if plan:
            raise ServiceUnavailable("missing: " + ", ".join(self.figures["missing"]))
        if self.figures["unknown"]:
            self.warning = "unknown: " + ", ".join(self.figures["unknown"])
            if settings.HEALTH_STRICT_MIGRATIONS:
                raise ServiceUnavailable(self.warning)


class Pool(Check):
    def measure(self) -> None:
        started = time.perf_counter()
        connection.ensure_connection()  # fails after DB_POOL_TIMEOUT
        self.figures |= {"checkout_ms": _milliseconds_since(started), **pool_figures()}


def pool_figures() -> dict[str, int]:
    stats = connection.pool.get_stats()
    names = ("pool_size", "pool_available", "pool_max", "requests_waiting")
    return {name.removeprefix("pool_"): stats[name] for name in names}


class Storage(Check):
    def measure(self) -> None:
        self.figures["probe_ms"], error = _probe_storage(time.monotonic() // STORAGE_PROBE_INTERVAL)
        if error:
            raise ServiceUnavailable(error)


class ReadinessView(HealthCheckView):
    """200 if all checks pass, else 500. Figures and reasons are included with DEBUG on, for staff, or with
    `Authorization: Bearer <HEALTH_TOKEN>`.
    """

    checks: ClassVar = (Database, Migrations, Pool)
    threads = THREADS

    async def get(self, request: HttpRequest, *args, **kwargs) -> HttpResponse:
        self.disclose = await _may_see_figures(request)
        try:
            return await super().get(request, *args, **kwargs)
        except ValueError:  # an Accept header that it can't parse, such as Java's "*; q=.2"
            return self.render_to_response_json(500 if any(result.error for result in self.results) else 200)

    def get_checks(self):
        for check in self.checks:
            yield check(disclose=self.disclose)

    def get_executor(self):
        return contextlib.nullcontext(self.threads)

    def render_to_response_json(self, status: int) -> JsonResponse:
        body: dict[str, Any] = {
            repr(result.check): str(result.error) if result.error else "OK" for result in self.results
        }
        if self.disclose:
            body["figures"] = {repr(result.check): result.check.figures for result in self.results}
            warnings = {repr(result.check): result.check.warning for result in self.results}
            body["warnings"] = {name: warning for name, warning in warnings.items() if warning}
        return JsonResponse(body, status=status)


async def _may_see_figures(request: HttpRequest) -> bool:
    if settings.DEBUG or _has_health_token(request):
        return True
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return False
    # The session is in the database, which may be unavailable.
    staff = asyncio.get_running_loop().run_in_executor(THREADS, _is_staff, request)
    try:
        return await asyncio.wait_for(staff, STAFF_TIMEOUT)
    except (TimeoutError, DatabaseError):
        return False


def _has_health_token(request: HttpRequest) -> bool:
    sent = request.headers.get("Authorization", "").encode()
    return bool(settings.HEALTH_TOKEN) and hmac.compare_digest(sent, f"Bearer {settings.HEALTH_TOKEN}".encode())


def _is_staff(request: HttpRequest) -> bool:
    try:
        return request.user.is_active and request.user.is_staff
    finally:
        connection.close()


@lru_cache(maxsize=1)
def _probe_storage(period: float) -> tuple[float, str]:
    """Write, read and delete a file, once in each period: the milliseconds it took, and what failed."""
    name, written, problem = f"{PROBES}/{socket.gethostname()}-{os.getpid()}", os.urandom(16), ""
    started = time.perf_counter()
    try:
        stored = default_storage.save(name, ContentFile(written))
        with default_storage.open(stored) as file:
            if file.read() != written:
                problem = "the file read differs from the file written"
        default_storage.delete(stored)
    except Exception as error:  # storages raise exceptions of their own
        problem = one_line(error)
    return _milliseconds_since(started), problem


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
