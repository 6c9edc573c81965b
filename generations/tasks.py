"""The tasks of the queue. `manage.py procrastinate worker` runs them."""

import logging
import time
from functools import partial

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job

from generations import renderers
from generations.images import files, orphans, retention
from generations.models import Generation
from generations.progress.previews import Preview
from generations.renderers.base import (
    Progress,
    RendererFailure,
    RenderError,
    RendererUnavailable,
    RenderRequest,
    Waiting,
)
from generations.rendering.completion import Superseded, store_and_complete
from generations.rendering.monitor import AttemptMonitor
from generations.scheduling.fair_share import URGENT, FairShare
from generations.scheduling.queues import MAINTENANCE, RENDER, RENDER_TASK
from generations.status import Status
from generations.webhooks import delivery  # noqa: F401  registers its task
from generations.webhooks.models import WebhookDelivery
from lockngen.database import retry
from lockngen.retry_policies import RENDER_JOB

logger = logging.getLogger(__name__)

maintenance_task = partial(app.task, queue=MAINTENANCE, priority=URGENT)

FINISHED_JOBS_KEPT = 24  # hours
PURGED_FOR = 60.0  # seconds at most, every ten minutes: a tenth of one slot of a worker
WAITING_TIMEOUTS = 10  # times RENDER_TIMEOUT; a render that has not started by then fails
CHECK_INTERVAL = 1.0  # seconds between two checks whether the attempt is current, which also publish progress


class RenderRetry(BaseRetryStrategy):
    """Retries every exception that reaches the queue; the generation limits the number of attempts."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        is_stopping = isinstance(exception, JobAborted)
        return RetryDecision(retry_in={"seconds": 0 if is_stopping else RENDER_JOB.pause(job.attempts + 1)})


@app.task(name=RENDER_TASK, queue=RENDER, pass_context=True, retry=RenderRetry())
def render(context: JobContext, generation_id: str) -> None:
    """One attempt at a generation. Raises if the queue has to retry the job."""
    generation, attempt = _start(generation_id, context.job.priority)
    if generation:  # an earlier attempt may have been killed while storing its image
        files.delete_leftovers(generation, before=attempt or generation.attempts + 1)
    if attempt is None:
        logger.info("Generation %s: nothing to render.", generation_id)
        _cancel_render(generation)
    elif generation.counted_attempts > settings.RENDER_MAX_ATTEMPTS:  # the worker died in the last attempt
        _fail_permanently(generation, attempt)
    else:
        _attempt(generation, attempt, context)


# After a lost COMMIT a new attempt is started: the number that is read could belong to a later attempt.
@retry.unit_of_work(find=lambda *_: None, long_running=True)
def _start(generation_id: str, priority: int) -> tuple[Generation | None, int | None]:
    generation = Generation.all_objects.filter(pk=generation_id).first()
    if generation is None:
        return None, None
    FairShare.objects.record_start(generation.api_key_id, priority)
    return generation, generation.start()


def _attempt(generation: Generation, attempt: int, context: JobContext) -> None:
    logger.info("Generation %s: attempt %d starts.", generation.id, attempt)
    try:
        request = _request(generation, attempt)
        image = renderers.get_pool().render(request, _monitor_of(generation, attempt, context))
        store_and_complete(generation, request, image, lambda: _ensure_current(generation, attempt, context))
        logger.info("Generation %s is completed.", generation.id)
    except Superseded:
        logger.info("Generation %s: attempt %d is superseded.", generation.id, attempt)
        _cancel_render(generation)
    except RenderError as error:
        logger.warning("Generation %s failed: %s", generation.id, error)
        _fail(generation, attempt, str(error))
    except JobAborted:
        _requeue_on_shutdown(generation, attempt, context)
    except Exception as error:
        # An outage of the database, the storage or all renderers is not caused by the prompt.
        counts_as_attempt = retry.outage(error) is None and not isinstance(
            error, RendererUnavailable | files.StorageUnavailable
        )
        logger.warning("Generation %s: attempt %d was interrupted.", generation.id, attempt, exc_info=counts_as_attempt)
        if counts_as_attempt and generation.counted_attempts >= settings.RENDER_MAX_ATTEMPTS:
            _fail_permanently(generation, attempt, error)
        elif _requeue(generation, attempt, counts_as_attempt=counts_as_attempt):
            raise


def _requeue_on_shutdown(generation: Generation, attempt: int, context: JobContext) -> None:
    if context.abort_reason() != AbortReason.SHUTDOWN:  # the job itself was aborted
        retry.idempotent(generation.cancel, long_running=True)()
        _cancel_render(generation)
    # If this attempt was superseded, the job belongs to the later one: raising would run it a third time.
    elif _requeue(generation, attempt, counts_as_attempt=False):
        logger.info("Generation %s is requeued: the worker stops.", generation.id)
        raise JobAborted


@retry.unit_of_work(
    find=lambda generation, attempt, **_: generation.is_at(attempt, Status.PENDING) or None, long_running=True
)
def _requeue(generation: Generation, attempt: int, *, counts_as_attempt: bool) -> bool:
    return generation.requeue(attempt, counts_as_attempt)


def _fail_permanently(generation: Generation, attempt: int, error: Exception | None = None) -> None:
    logger.warning("Generation %s failed: attempt %d was the last one.", generation.id, attempt)
    reason = f" {error}" if isinstance(error, RendererFailure) else ""
    _fail(generation, attempt, f"Rendering failed after {settings.RENDER_MAX_ATTEMPTS} attempts.{reason}")


def _fail(generation: Generation, attempt: int, message: str) -> None:
    retry.idempotent(generation.fail, long_running=True)(attempt, message)
    _cancel_render(generation)


def _cancel_render(generation: Generation | None) -> None:
    """Cancel a finished generation's render in the renderer. A later attempt's render is not touched."""
    if generation and generation.attempts and _has_ended(generation):
        connection.close()
        renderers.get_pool().cancel(generation.id)


@retry.idempotent
def _has_ended(generation: Generation) -> bool:
    return not Generation.all_objects.filter(pk=generation.pk).unfinished().exists()


def _request(generation: Generation, attempt: int) -> RenderRequest:
    """The request, with the model and the seed that are used."""
    # Rendering is slow, so it holds neither a transaction nor a connection of the pool.
    connection.close()
    names = ("id", "prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed")
    parameters = {name: getattr(generation, name) for name in names}
    return renderers.get_pool().settle(RenderRequest(**parameters, attempt=attempt))


def _monitor_of(generation: Generation, attempt: int, context: JobContext) -> Progress:
    """Stops a render when the worker stops, the attempt is superseded, or RENDER_TIMEOUT expires.

    The timeout counts from the start of the render. It may wait in a renderer's queue for WAITING_TIMEOUTS timeouts.
    """
    begun_at = checked_at = time.monotonic()
    has_begun = False
    monitor = AttemptMonitor(generation, attempt)

    def progress(percent: int) -> None:
        nonlocal checked_at, begun_at, has_begun
        logger.debug("Job %s: %d%%", context.job.id, percent)
        if context.should_abort():
            raise JobAborted
        if not has_begun and not isinstance(percent, Waiting):
            has_begun, begun_at = True, time.monotonic()
        _check_time(begun_at, has_begun)
        if time.monotonic() - checked_at > CHECK_INTERVAL:
            checked_at = time.monotonic()
            if not monitor.is_current(percent):
                raise Superseded

    return progress


def _check_time(begun_at: float, has_begun: bool) -> None:
    timeout = settings.RENDER_TIMEOUT if has_begun else WAITING_TIMEOUTS * settings.RENDER_TIMEOUT
    if time.monotonic() - begun_at > timeout:
        what = "Rendering took" if has_begun else "The image waited in the renderer's queue for"
        raise RenderError(f"{what} longer than {timeout:g} seconds.")


def _ensure_current(generation: Generation, attempt: int, context: JobContext) -> None:
    """Stops waiting for the storage when the worker stops or the attempt is superseded."""
    if context.should_abort():
        raise JobAborted
    if not AttemptMonitor(generation, attempt).is_current(100):
        raise Superseded


@app.periodic(cron="* * * * * */15")  # the last field is seconds
@maintenance_task(name="generations.rescue_stalled", queueing_lock="rescue_stalled", pass_context=True)
async def rescue_stalled(context: JobContext, timestamp: int) -> None:
    """Requeue the jobs of dead workers, which procrastinate does not do by itself."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs():
        logger.warning("Job %s is run again: its worker died.", job.id)
        try:
            await jobs.retry_job(job)
        except ConnectorException:  # it ended meanwhile; continue with the others
            logger.exception("Job %s can't be run again.", job.id)


@app.periodic(cron="* * * * *")
@maintenance_task(name="generations.requeue_stranded", queueing_lock="requeue_stranded")
def requeue_stranded(timestamp: int) -> None:
    """Enqueue a job for every unfinished generation and every pending webhook that has none."""
    for id in Generation.objects.all().stranded().requeue():
        logger.warning("Generation %s had no job: one was enqueued.", id)
    for id in WebhookDelivery.objects.all().stranded().enqueue():
        logger.warning("Webhook %s had no job: one was enqueued.", id)


@app.periodic(cron="* * * * *")
@maintenance_task(name="generations.remove_previews", queueing_lock="remove_previews")
def remove_previews(timestamp: int) -> None:
    """Remove the previews of attempts that have ended."""
    Preview.objects.delete_ended()


@app.periodic(cron="17 * * * *")
@maintenance_task(name="generations.rebase_shares", queueing_lock="rebase_shares")
def rebase_shares(timestamp: int) -> None:
    """Keep the fair-share positions within the range of a job's priority."""
    FairShare.objects.rebase()


@app.periodic(cron="17 * * * *")
@maintenance_task(name="generations.remove_finished_jobs", queueing_lock="remove", pass_context=True)
async def remove_finished_jobs(context: JobContext, timestamp: int) -> None:
    """Keep the queue's tables small. The generations hold the history."""
    await context.app.job_manager.delete_old_jobs(
        nb_hours=FINISHED_JOBS_KEPT, include_failed=True, include_cancelled=True, include_aborted=True
    )


@app.periodic(cron="27 4 * * *")
@maintenance_task(name="generations.remove_expired_sessions", queueing_lock="sessions")
def remove_expired_sessions(timestamp: int) -> None:
    """Of the studio and the admin: a browser doesn't send their cookie any more."""
    SessionStore.clear_expired()


@app.periodic(cron="*/10 * * * *")
@maintenance_task(name="generations.purge", queueing_lock="purge", pass_context=True)
def purge(context: JobContext, timestamp: int) -> None:
    """Hard-delete expired generations. The next run continues where the time limit stopped this one."""
    end, tally = time.monotonic() + PURGED_FOR, None
    for tally in retention.purge():  # noqa: B007  the last one is logged
        if context.should_abort() or time.monotonic() > end:
            break
    if tally:
        logger.info("Purged: generations %d, files %d, webhooks %d.", tally.generations, tally.files, tally.webhooks)


@app.periodic(cron="47 4 * * 0")
@maintenance_task(name="generations.find_orphans", queueing_lock="find_orphans", pass_context=True)
def find_orphans(context: JobContext, timestamp: int) -> None:
    """Remove files of killed processes, and log the number of files that belong to no generation.

    The latter are kept: after the restore of an older backup they may be the only trace of lost generations.
    """
    count = 0
    for batch in orphans.find():
        if context.should_abort():
            return
        for orphan in batch.orphans:
            if orphan.is_leftover:
                orphan.remove()
            else:
                count += 1
    if count:
        logger.warning("Files that belong to no generation: %d. manage.py purge --orphans --dry-run lists them.", count)
