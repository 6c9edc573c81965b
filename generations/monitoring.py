"""The figures of the whole system, for `manage.py status` and the admin's status page."""

from collections import defaultdict
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Aggregate, Count, DurationField, F, IntegerField, Max, Q, TextField
from django.db.models.functions import Cast, Extract, Floor, Now
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob, ProcrastinateWorker

from apikeys.models import ApiKey
from generations import renderers
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from generations.scheduling.queues import RENDER_TASK
from generations.status import FINISHED, Status
from generations.webhooks.models import DeliveryState, WebhookDelivery
from lockngen import health
from lockngen.database import retry

MAX_ROWS = 50  # keys or models that are listed
MINUTES = (1, 5, 15)
HOUR = 60  # minutes
MAX_REASONS, MAX_OLDEST = 10, 5
HEARTBEAT_LOST_AFTER = timedelta(seconds=30)  # as in procrastinate
TABLES = ("generations_generation", "procrastinate_jobs", "procrastinate_events")

Facts = dict[str, Any]


class Median(Aggregate):
    function = "percentile_cont"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"


def gather() -> Facts:
    """All figures, as values that JSON supports."""
    # Renderers are probed first, which may take a second, so that no connection is held meanwhile.
    return {
        "at": timezone.now().isoformat(timespec="seconds"),
        "renderers": renderers.get_pool().states(),
        "unavailable_models": unavailable_models(),
        **_from_database(),
    }


@retry.idempotent
def _from_database() -> Facts:
    return {
        "workers": workers(),
        "queue": queue(),
        "throughput": throughput(),
        "webhooks": webhooks(),
        "database": database(),
        "pool": health.pool_figures(),
        "retention": retention(),
    }


@retry.idempotent
def last_hour() -> Facts:
    """What ended in each minute of the last hour, why generations failed in it, and which wait longest."""
    return {"minutes": ended_by_minute(), "failures": failures(), "oldest": oldest_waiting()}


def unavailable_models() -> list[Facts]:
    unavailable = renderers.current_pool().unavailable()
    return [{"model": model, "reason": reason} for model, reason in unavailable.items()]


def workers() -> list[Facts]:
    """Each worker with its running jobs. Jobs of deleted workers come last; they are about to be rescued."""
    running = _running_jobs()
    found = [
        {
            "id": worker.id,
            "is_alive": worker.silent < HEARTBEAT_LOST_AFTER,
            "silent_seconds": _seconds(worker.silent),
            "jobs": running.pop(worker.id, []),
        }
        for worker in ProcrastinateWorker.objects.annotate(silent=Now() - F("last_heartbeat")).order_by("id")
    ]
    abandoned = [job for jobs in running.values() for job in jobs]
    return found + ([{"id": None, "is_alive": False, "silent_seconds": None, "jobs": abandoned}] if abandoned else [])


def _running_jobs() -> dict[int | None, list[Facts]]:
    """The running jobs by worker, each with the seconds since its last start."""
    jobs = list(ProcrastinateJob.objects.filter(status="doing").order_by("id"))
    started = ProcrastinateEvent.objects.filter(job__in=[job.id for job in jobs], type="started")
    ages = dict(started.values("job_id").annotate(age=Now() - Max("at")).values_list("job_id", "age"))
    running = defaultdict(list)
    for job in jobs:
        generation = job.args.get("generation_id") if job.task_name == RENDER_TASK else None
        facts = {"task": job.task_name, "generation": generation, "seconds": _seconds(ages.get(job.id))}
        running[job.worker_id].append(facts)
    return running


def queue() -> Facts:
    """Pending and processing generations, by key and by model."""
    groups = list(
        # Unfinished rows are always live. The condition is omitted so that the index by status is used.
        Generation.all_objects.unfinished()
        .values("api_key_id", "model", "status")
        .annotate(count=Count("*"), oldest=Max(Now() - F("created_at")))
    )
    waiting = [group for group in groups if group["status"] == Status.PENDING]
    keys, models = _named(_totals(groups, "api_key_id")), _totals(groups, "model")
    return {
        "waiting": sum(group["count"] for group in waiting),
        "running": sum(group["count"] for group in groups) - sum(group["count"] for group in waiting),
        "oldest_waiting_seconds": _seconds(max((group["oldest"] for group in waiting), default=None)),
        "keys": keys[:MAX_ROWS],
        "keys_left_off": max(0, len(keys) - MAX_ROWS),
        "models": models[:MAX_ROWS],
        "models_left_off": max(0, len(models) - MAX_ROWS),
    }


def _totals(groups: list[Facts], by: str) -> list[Facts]:
    """The waiting and running generations of each key or model, most waiting first."""
    totals = {}
    for group in groups:
        total = totals.setdefault(group[by], {by: group[by], "waiting": 0, "running": 0})
        total["waiting" if group["status"] == Status.PENDING else "running"] += group["count"]
    return sorted(totals.values(), key=lambda total: (-total["waiting"], -total["running"], str(total[by])))


def _named(totals: list[Facts]) -> list[Facts]:
    """The totals with each key's name and its share of the next renders in percent, by the waiting keys' priorities."""
    keys = ApiKey.all_objects.in_bulk([total["api_key_id"] for total in totals])
    priorities = [keys[total["api_key_id"]].priority if total["waiting"] else 0 for total in totals]
    return [
        {
            "key": str(keys[total["api_key_id"]]),
            "waiting": total["waiting"],
            "running": total["running"],
            "share_percent": round(100 * priority / max(1, sum(priorities)), 1),
        }
        for total, priority in zip(totals, priorities, strict=True)
    ]


def throughput() -> Facts:
    """Generations that ended in the last minutes, by status, and the median duration of a render."""
    ended = Generation.all_objects.filter(completed_at__gt=Now() - timedelta(minutes=max(MINUTES)))
    counts = {
        (minutes, status): Count("pk", filter=Q(status=status, completed_at__gt=Now() - timedelta(minutes=minutes)))
        for minutes in MINUTES
        for status in FINISHED
    }
    took = Median(F("completed_at") - F("started_at"), filter=Q(status=Status.COMPLETED), output_field=DurationField())
    found = ended.aggregate(
        median=took, **{f"{status.label}_{minutes}": counts[minutes, status] for minutes, status in counts}
    )
    return {
        "median_render_seconds": _seconds(found["median"]),
        "lately": [
            {"minutes": minutes, **{status.label.lower(): found[f"{status.label}_{minutes}"] for status in FINISHED}}
            for minutes in MINUTES
        ],
    }


def ended_by_minute() -> list[Facts]:
    """The number of generations that ended in each minute of the last hour, by status, oldest first."""
    seconds = Extract(Now() - F("completed_at"), "epoch")
    groups = _ended_in_last_hour().annotate(ago=Floor(seconds / 60, output_field=IntegerField()))
    counts = {
        (row["ago"], row["status"]): row["count"] for row in groups.values("ago", "status").annotate(count=Count("pk"))
    }
    return [
        {"minutes_ago": ago, **{status.label.lower(): counts.get((ago, status), 0) for status in FINISHED}}
        for ago in reversed(range(HOUR))
    ]


def failures() -> list[Facts]:
    """The reasons for the failures of the last hour, the most frequent first, with the newest generation of each."""
    reasons = _ended_in_last_hour().filter(status=Status.FAILED).values(reason=F("error_message"))
    found = reasons.annotate(count=Count("pk"), latest=Max("completed_at"), generation=Max(Cast("pk", TextField())))
    return [{**row, "latest": row["latest"].isoformat()} for row in found.order_by("-count", "-latest")[:MAX_REASONS]]


def oldest_waiting() -> list[Facts]:
    # Pending rows are always live. The condition is omitted so that the index by status is used.
    oldest = Generation.all_objects.pending().select_related("api_key").annotate(waited=Now() - F("created_at"))
    return [
        {
            "generation": str(each.pk),
            "key": str(each.api_key),
            "model": each.model,
            "seconds": _seconds(each.waited),
        }
        for each in oldest.order_by("id")[:MAX_OLDEST]
    ]


def _ended_in_last_hour() -> GenerationQuerySet:
    return Generation.all_objects.filter(completed_at__gt=Now() - timedelta(minutes=HOUR))


def webhooks() -> Facts:
    """Deliveries that are still to be sent, and the dead letters."""
    pending, failed = (Q(state=state) for state in (DeliveryState.PENDING, DeliveryState.FAILED))
    found = WebhookDelivery.objects.filter(pending | failed).aggregate(
        pending=Count("pk", filter=pending),
        retried=Count("pk", filter=pending & Q(attempts__gt=0)),
        oldest_pending_seconds=Max(Now() - F("created_at"), filter=pending),
        failed=Count("pk", filter=failed),
    )
    return {**found, "oldest_pending_seconds": _seconds(found["oldest_pending_seconds"])}


def database() -> Facts:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT relname, pg_total_relation_size(oid), nullif(reltuples, -1)::bigint FROM pg_class
               WHERE relname = ANY(%s) AND pg_table_is_visible(oid) ORDER BY 2 DESC""",
            [list(TABLES)],
        )
        tables = [{"table": name, "bytes": size, "rows": rows} for name, size, rows in cursor.fetchall()]
        cursor.execute(
            """SELECT pg_database_size(current_database()), count(*), current_setting('max_connections')::int
               FROM pg_stat_activity WHERE datid IS NOT NULL"""
        )
        size, connections, max_connections = cursor.fetchone()
    return {"bytes": size, "connections": connections, "max_connections": max_connections, "tables": tables}


def retention() -> Facts:
    return {
        "finished_days": settings.RETENTION_FINISHED,
        "deleted_days": settings.RETENTION_DELETED,
        "webhooks_days": settings.RETENTION_WEBHOOKS,
        "files_to_remove": PendingDeletion.objects.count(),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 1)
