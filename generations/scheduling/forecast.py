"""When waiting generations will be rendered: their position in their queue, and an estimate of the time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from uuid import UUID

from django.db import connection
from django.db.models import Count, F
from django.db.models.functions import Now

from generations import renderers
from generations.models import Generation
from generations.scheduling.queues import RENDER_TASK
from generations.status import Status

MAX_POSITION = 1000  # beyond it jobs are not counted
RECENT = timedelta(minutes=30)  # older renders say little about the next
SAMPLE = 100  # renders from which durations are estimated

# A job's position is the number of jobs of its queue that are fetched before it, and 1.
POSITIONS = f"""
    SELECT own.queueing_lock, 1 + (
        SELECT count(*) FROM (
            SELECT FROM procrastinate_jobs AS ahead
            WHERE ahead.status = 'todo' AND ahead.queue_name = own.queue_name
            AND (ahead.priority > own.priority OR (ahead.priority = own.priority AND ahead.id < own.id))
            LIMIT {MAX_POSITION}
        ) AS counted
    )
    FROM procrastinate_jobs AS own
    WHERE own.status = 'todo' AND own.task_name = '{RENDER_TASK}' AND own.queueing_lock = ANY(%s)
"""  # noqa: S608  contains no user input


@dataclass(frozen=True, slots=True)
class Forecast:
    """The position in the queue, from 1, and the estimated seconds until the image exists, if they can be estimated."""

    position: int
    seconds: float | None

    @property
    def is_exact(self) -> bool:
        return self.position <= MAX_POSITION


def of(generations: Sequence[Generation]) -> dict[UUID, Forecast]:
    """The forecasts of those that have a waiting job."""
    waiting = {str(generation.pk): generation for generation in generations if generation.status == Status.PENDING}
    if not waiting:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(POSITIONS, [list(waiting)])
        positions = dict(cursor.fetchall())
    resolve = renderers.get_pool().resolve_model
    durations, running = _durations(), _running()
    forecasts = {}
    for id, position in positions.items():
        model = resolve(waiting[id].model)
        duration = durations.get(model)
        # As many are rendered at once as are now: a worker that is idle would have taken this one.
        seconds = duration and duration * (1 + (position - 1) / max(1, running.get(model, 0)))
        forecasts[waiting[id].pk] = Forecast(position, seconds)
    return forecasts


def _durations() -> dict[str, float]:
    """The median seconds of recent renders, by model."""
    recent = Generation.all_objects.filter(
        completed_at__gt=Now() - RECENT, status=Status.COMPLETED, started_at__isnull=False
    ).order_by("-completed_at")
    took = defaultdict(list)
    for model, duration in recent.values_list("model", F("completed_at") - F("started_at"))[:SAMPLE]:
        took[model].append(duration.total_seconds())
    return {model: median(seconds) for model, seconds in took.items()}


def _running() -> dict[str, int]:
    """The number of renders at the moment, by model."""
    resolve, counts = renderers.get_pool().resolve_model, defaultdict(int)
    processing = Generation.all_objects.filter(status=Status.PROCESSING)
    for model, count in processing.values_list("model").annotate(count=Count("*")):
        counts[resolve(model)] += count
    return counts
