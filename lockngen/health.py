"""Liveness (`/ht/live`: this process answers) and readiness (`/ht/`: database, migrations and pool are in order).

`/ht/storage` and `/ht/workers` stand apart: the web can serve without either for a while.
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
from django.db.models import Min
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob, ProcrastinateWorker

from lockngen.database.base import Connection

# Checks that a frozen server holds up keep these threads, and only these, busy: later checks wait for one in vain
# and time out, where an executor a request would wait for its own threads to end.
THREADS = ThreadPoolExecutor(max_workers=6, thread_name_prefix="health")
STORAGE_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="storage")
SERVER = """
    SELECT current_setting('server_version'), pg_is_in_recovery() OR current_setting('transaction_read_only')::bool
"""
STAFF_TIMEOUT = 1  # seconds
PROBES = ".health"  # the folder of the files that probe the storage
STORAGE_PROBED_EVERY = 30  # seconds; probes may be frequent, and each would write to the disk
HEARTBEAT_LOST_AFTER = timedelta(seconds=30)  # as the queue itself counts


class LivenessMiddleware:
    """Answers `/ht/live` ahead of everything: a probe comes by address, and a live process may lack a database."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.rstrip("/") == "/ht/live":
            return HttpResponse("OK", content_type="text/plain", headers={"Cache-Control": "no-store"})
        return self.get_response(request)


@dataclass(repr=False)
class Check(HealthCheck):
    """A check with figures. Its reasons and figures are for those who may see them."""

    disclose: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
    warning: str = ""
    timeout = timedelta(seconds=4)  # django-health-check gives a second more; a probe rarely waits longer

    def __repr__(self) -> str:
        return type(self).__name__.lower()

    @property
    def labels(self) -> dict[str, str]:
        return {"check": repr(self)}

    def run(self) -> None:
        try:
            self.measure()
        except (DatabaseError, ServiceUnavailable) as error:
            reason = getattr(error, "message", None) or str(error).strip() or type(error).__name__
            raise ServiceUnavailable(reason if self.disclose else "see the log") from error
        finally:
            # These threads serve no request, so nobody else hands their connection back to the pool.
            connection.close()

    @abc.abstractmethod
    def measure(self) -> None:
        """Fill in the figures. Raises DatabaseError or ServiceUnavailable."""


class Database(Check):
    def measure(self) -> None:
        with connection.cursor() as cursor:
            started = time.perf_counter()
            cursor.execute(SERVER)
            self.figures["server_version"], is_read_only = cursor.fetchone()
            self.figures["round_trip_ms"] = _milliseconds_since(started)
        if is_read_only:
            connection.pool.drain()  # after a failover, new sessions may lead to the new primary
            raise ServiceUnavailable("read-only: the server is a standby, or default_transaction_read_only is on")
        self.figures["connect_ms"] = Connection.connect_ms  # of the pool's newest


class Migrations(Check):
    """Fails without a migration that this release needs.

    One that it doesn't know is a newer release's: while that is rolled out, the old one still serves.
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
        connection.ensure_connection()  # fails when that takes longer than DB_POOL_TIMEOUT
        self.figures["checkout_ms"] = _milliseconds_since(started)
        stats = connection.pool.get_stats()
        for name in ("pool_size", "pool_available", "pool_max", "requests_waiting"):
            self.figures[name.removeprefix("pool_")] = stats[name]


class Storage(Check):
    def measure(self) -> None:
        self.figures["probe_ms"], error = _probe_storage(time.monotonic() // STORAGE_PROBED_EVERY)
        if error:
            raise ServiceUnavailable(error)


class Workers(Check):
    """Fails when no worker has a recent heartbeat."""

    def measure(self) -> None:
        waiting = ProcrastinateJob.objects.filter(status="todo").exclude(scheduled_at__gt=Now())
        oldest = waiting.aggregate(id=Min("id"))["id"]
        self.figures |= {
            "alive": ProcrastinateWorker.objects.filter(last_heartbeat__gt=Now() - HEARTBEAT_LOST_AFTER).count(),
            "waiting": waiting.count(),
            "oldest_waiting_seconds": _seconds_since_deferred(oldest),
        }
        if not self.figures["alive"]:
            raise ServiceUnavailable("no worker is alive")


class ReadinessView(HealthCheckView):
    """200 when all is in order, else 500. Names and OK for everybody; figures and reasons for those who may see them:
    with DEBUG on, as staff, or with `Authorization: Bearer <HEALTH_TOKEN>`.
    """

    checks: ClassVar = (Database, Migrations, Pool)
    threads = THREADS

    async def get(self, request: HttpRequest, *args, **kwargs) -> HttpResponse:
        self.disclose = await _may_see_figures(request)
        try:
            return await super().get(request, *args, **kwargs)
        except ValueError:  # an Accept that it can't read, such as the "*; q=.2" that Java sends
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
    # Who is logged in is in the database, which may be away.
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
    """How many milliseconds it took to write and read a file, and what was wrong with that, once in each period."""
    name, written = f"{PROBES}/{socket.gethostname()}-{os.getpid()}", os.urandom(16)
    started = time.perf_counter()
    try:
        stored = default_storage.save(name, ContentFile(written))
        with default_storage.open(stored) as file:
            is_same = file.read() == written
        default_storage.delete(stored)
    except Exception as error:  # every storage has kinds of its own
        return _milliseconds_since(started), str(error) or type(error).__name__
    return _milliseconds_since(started), "" if is_same else "what was read is not what had been written"


def _seconds_since_deferred(job_id: int | None) -> float | None:
    age = ProcrastinateEvent.objects.filter(job_id=job_id, type="deferred").aggregate(age=Now() - Min("at"))["age"]
    return age and round(age.total_seconds(), 1)


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
