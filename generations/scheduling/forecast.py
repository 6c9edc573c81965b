"""When waiting generations will be rendered: their position in their queue, and an estimate of the time."""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from math import log
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
SIMILAR = 10  # of these, for one generation

# The first jobs of each queue in the order in which they are fetched, with the work that is left: pixels x steps.
# The subquery is one look-up for each of them, where the planner joins all generations.
JOBS = f"""
    SELECT wanted.queue, job.id, (
        SELECT width::bigint * height * steps FROM generations_generation AS generation
        WHERE generation.id = job.id AND status = {Status.PENDING}
    )
    FROM unnest(%s::text[]) AS wanted (queue),
    LATERAL (
        SELECT id AS number, priority, CASE task_name WHEN '{RENDER_TASK}' THEN queueing_lock::uuid END AS id
        FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = wanted.queue
        ORDER BY priority DESC, number LIMIT %s
    ) AS job
    ORDER BY wanted.queue, job.priority DESC, job.number
"""  # noqa: S608  contains no user input

Sample = tuple[int, float]  # pixels x steps of a render, and its seconds


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
    waiting = defaultdict(set)
    models = {}
    for generation in generations:
        if generation.status == Status.PENDING:
            waiting[generation.queue].add(generation.pk)
            models[generation.queue] = renderers.get_pool().resolve_model(generation.model)
    if not waiting:
        return {}
    samples, running, forecasts = _samples(), _running(), {}
    for queue, jobs in _jobs(list(waiting)).items():
        model = models[queue]
        # As many are rendered at once as are now: a worker that is idle would have taken these.
        forecasts |= _forecasts(waiting[queue], jobs, samples[model], max(1, running.get(model, 0)))
    return forecasts


def estimate(samples: Sequence[Sample], work: int) -> float | None:
    """The seconds of a render: the median of those with the most similar work, each scaled to this work."""
    if not samples or not work:
        return None
    similar = sorted(samples, key=lambda sample: abs(log(sample[0] / work)))[:SIMILAR]
    return median(seconds * work / other for other, seconds in similar)


def _forecasts(wanted: Set[UUID], jobs: Sequence[tuple[UUID, int]], samples: Sequence[Sample], running: int) -> dict:
    forecasts, ahead, estimated = {}, 0.0, cache(partial(estimate, samples))
    for position, (id, work) in enumerate(jobs, 1):
        seconds = estimated(work)
        if id in wanted:
            forecasts[id] = Forecast(position, seconds and seconds + ahead / running)
        ahead += seconds or 0
    if len(jobs) >= MAX_POSITION:
        forecasts |= dict.fromkeys(wanted - forecasts.keys(), Forecast(MAX_POSITION + 1, None))
    return forecasts


def _jobs(queues: list[str]) -> dict[str, list[tuple[UUID, int]]]:
    """The generations of the queues' first jobs, and their work."""
    jobs = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(JOBS, [queues, MAX_POSITION])
        for queue, id, work in cursor.fetchall():
            jobs[queue].append((id, work or 0))
    return jobs


def _samples() -> dict[str, list[Sample]]:
    """Recent renders, by model."""
    recent = Generation.all_objects.filter(
        completed_at__gt=Now() - RECENT, status=Status.COMPLETED, started_at__isnull=False
    ).order_by("-completed_at")
    work, took, samples = F("width") * F("height") * F("steps"), F("completed_at") - F("started_at"), defaultdict(list)
    for model, each, duration in recent.values_list("model", work, took)[:SAMPLE]:
        samples[model].append((each, duration.total_seconds()))
    return samples


def _running() -> dict[str, int]:
    """The number of renders at the moment, by model."""
    resolve, counts = renderers.get_pool().resolve_model, defaultdict(int)
    processing = Generation.all_objects.filter(status=Status.PROCESSING)
    for model, count in processing.values_list("model").annotate(count=Count("*")):
        counts[resolve(model)] += count
    return counts
