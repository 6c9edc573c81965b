"""Liveness (`/ht/live`: this process answers) and readiness (`/ht/`: database, migrations and pool are in order)."""

import abc
import asyncio
import contextlib
import hmac
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView

# Checks that a frozen server holds up keep these threads, and only these, busy: later checks wait for one in vain
# and time out, where an executor a request would wait for its own threads to end.
THREADS = ThreadPoolExecutor(max_workers=6, thread_name_prefix="health")
STAFF_TIMEOUT = 1  # seconds


class LivenessMiddleware:
    """Answers `/ht/live` ahead of everything: a probe comes by address, and a live process may lack a database."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.rstrip("/") == "/ht/live":
            return HttpResponse("OK", content_type="text/plain", headers={"Cache-Control": "no-store"})
        return self.get_response(request)


@dataclass(repr=False)
class Check(HealthCheck):
    """A check with figures. Its reasons and figures are for those who may see them."""

    disclose: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
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
            cursor.execute("SHOW server_version")
            self.figures["server_version"] = cursor.fetchone()[0]
            self.figures["round_trip_ms"] = _milliseconds_since(started)


class Migrations(Check):
    def measure(self) -> None:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        self.figures["missing"] = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
        if plan:
            raise ServiceUnavailable("missing: " + ", ".join(self.figures["missing"]))


class Pool(Check):
    def measure(self) -> None:
        started = time.perf_counter()
        connection.ensure_connection()  # fails when that takes longer than DB_POOL_TIMEOUT
        self.figures["checkout_ms"] = _milliseconds_since(started)
        stats = connection.pool.get_stats()
        for name in ("pool_size", "pool_available", "pool_max", "requests_waiting"):
            self.figures[name.removeprefix("pool_")] = stats[name]


class ReadinessView(HealthCheckView):
    """200 when all is in order, else 500. Names and OK for everybody; figures and reasons for those who may see them:
    with DEBUG on, as staff, or with `Authorization: Bearer <HEALTH_TOKEN>`.
    """

    async def get(self, request: HttpRequest, *args, **kwargs) -> HttpResponse:
        self.disclose = await _may_see_figures(request)
        try:
            return await super().get(request, *args, **kwargs)
        except ValueError:  # an Accept that it can't read, such as the "*; q=.2" that Java sends
            return self.render_to_response_json(500 if any(result.error for result in self.results) else 200)

    def get_checks(self):
        for check in (Database, Migrations, Pool):
            yield check(disclose=self.disclose)

    def get_executor(self):
        return contextlib.nullcontext(THREADS)

    def render_to_response_json(self, status: int) -> JsonResponse:
        body: dict[str, Any] = {
            repr(result.check): str(result.error) if result.error else "OK" for result in self.results
        }
        if self.disclose:
            body["figures"] = {repr(result.check): result.check.figures for result in self.results}
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


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
