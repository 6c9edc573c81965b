"""The task that delivers webhooks. It is a coroutine: a receiver that is slow holds neither a thread nor a connection.

A delivery is sent at least once. If a worker is killed after the receiver's answer, the event is sent again with the
same webhook-id.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job

from generations.api.presenters import Viewer
from generations.scheduling.queues import DELIVERY_TASK, WEBHOOKS
from generations.webhooks import addresses, payloads, sending, signature
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.sending import Outcome
from generations.webhooks.signature import WebhookSecret
from lockngen import retry_policies
from lockngen.database import retry
from lockngen.web.slots import Slot, Slots

logger = logging.getLogger(__name__)

THREADS = 2  # for the database; each step takes milliseconds
EARLY = 1.0  # seconds; an attempt that is due sooner is made now
SHARE = 4  # one receiver gets a quarter of the concurrency

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks")
_receivers = Slots(lambda: settings.WEBHOOK_CONCURRENCY, lambda: max(1, settings.WEBHOOK_CONCURRENCY // SHARE))


class Postponed(Exception):
    """The delivery continues after so many seconds."""

    is_routine = True  # the queue's line about it is not logged

    def __init__(self, seconds: float):
        super().__init__(f"postponed for {seconds:.0f} s")
        self.seconds = seconds


class DeliveryRetry(BaseRetryStrategy):
    """Retries every exception that reaches the queue; the delivery limits the number of attempts."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        if isinstance(exception, Postponed):
            seconds = exception.seconds
        elif isinstance(exception, JobAborted | asyncio.CancelledError):  # the worker stops
            seconds = 0
        else:
            seconds = retry_policies.WEBHOOK_JOB.pause(job.attempts + 1)
        return RetryDecision(retry_in={"seconds": seconds})


@dataclass(frozen=True, slots=True)
class Attempt:
    delivery: WebhookDelivery
    number: int
    url: str
    headers: dict[str, str]
    body: bytes
    slot: Slot


@app.task(name=DELIVERY_TASK, queue=WEBHOOKS, retry=DeliveryRetry())
async def deliver(delivery_id: str) -> None:
    """One attempt at a delivery. Raises Postponed if the queue has to retry the job."""
    attempt = await _in_thread(_start, delivery_id)
    if attempt is None:
        return
    try:
        outcome = await sending.send(attempt.url, attempt.headers, attempt.body)
    finally:
        attempt.slot.release()
    await _in_thread(_finish, attempt, outcome)


def _start(delivery_id: str) -> Attempt | None:
    """Start an attempt, or return None if there is nothing to send. Raises Postponed."""
    delivery = _load(delivery_id)
    if delivery is None or delivery.state != WebhookDelivery.State.PENDING:
        return None
    if (seconds := delivery.due_in.total_seconds()) > EARLY:  # a rescued job comes earlier than it was due
        raise Postponed(seconds)
    url = delivery.generation.submission.webhook
    # A receiver that is slow can't hold all deliveries. Raises HolderFull, after which the job is retried.
    slot = _receivers.take(addresses.origin(addresses.parse(url)))
    try:
        number = retry.unit_of_work(find=lambda: None, long_running=True)(delivery.start)()
        signed = None if number is None or _has_failed(delivery, number) else _signed(delivery)
        if signed is None:
            slot.release()
            return None
        body, headers = signed
        return Attempt(delivery, number, url, headers, body, slot)
    except BaseException:
        slot.release()
        raise


def _has_failed(delivery: WebhookDelivery, number: int) -> bool:
    """Fail a delivery whose last attempt ended without an outcome, because of an error or a killed worker."""
    return delivery.counted_attempts > retry_policies.WEBHOOK.attempts and _stored(
        delivery.fail, number, "its last attempt was interrupted; the log may have the reason"
    )


@retry.idempotent
def _load(delivery_id: str) -> WebhookDelivery | None:
    # The base manager also has deleted generations.
    due_in = ExpressionWrapper(F("next_attempt_at") - Now(), output_field=DurationField())
    rows = WebhookDelivery.objects.annotate(due_in=due_in).select_related("generation__submission")
    return rows.select_related("generation__submission", "generation__api_key").filter(pk=delivery_id).first()


def _signed(delivery: WebhookDelivery) -> tuple[bytes, dict[str, str]] | None:
    """The body and the headers. None, and the delivery has ended, if there is nothing to send."""
    generation = delivery.generation
    viewer = Viewer(settings.PUBLIC_URL or generation.submission.base_url, generation.api_key_id)
    body = payloads.of(delivery, viewer)
    if body is None:
        _stored(delivery.succeed)
        return None
    secret = WebhookSecret.objects.of(generation.api_key)
    return body, signature.headers(secret.valid, str(delivery.pk), body)


def _finish(attempt: Attempt, outcome: Outcome) -> None:
    """Store the outcome. Raises Postponed if there is another attempt."""
    delivery, policy = attempt.delivery, retry_policies.WEBHOOK
    what = f"Webhook {delivery.pk}, {delivery.event} of generation {delivery.generation_id}"
    if outcome.error is None:
        _stored(delivery.succeed, outcome.status)
        logger.info("%s: delivered.", what)
    elif outcome.is_final or delivery.counted_attempts >= policy.attempts:
        _stored(delivery.fail, attempt.number, outcome.error, outcome.status)
        logger.warning("%s: failed after %d attempts: %s.", what, delivery.counted_attempts, outcome.error)
    else:
        pause = max(policy.pause(delivery.counted_attempts), min(outcome.retry_after, policy.max_pause))
        logger.info("%s: attempt %d failed: %s.", what, attempt.number, outcome.error)
        # A later attempt has a job of its own.
        if _stored(delivery.postpone, attempt.number, pause, outcome.error, outcome.status):
            raise Postponed(pause)


def _stored(transition: Callable[..., bool], *args) -> bool:
    return retry.idempotent(transition, long_running=True)(*args)


async def _in_thread(step: Callable[..., Any], *args) -> Any:
    """Run a step that uses the database, and return the connection to the pool."""

    def run() -> Any:
        try:
            return step(*args)
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(_threads, run)
