"""The task that delivers webhooks. It is a coroutine: a receiver that is slow holds neither a thread nor a connection.

A delivery is sent at least once. If a worker is killed after the receiver's answer, the event is sent again with the
same webhook-id.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
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
from lockngen.web.slots import HolderFull, Slots

logger = logging.getLogger(__name__)

T = TypeVar("T")

THREADS = 2  # for the database; each step takes milliseconds

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks")
# A receiver that is slow, and a key with many slow receivers, can't hold all deliveries.
_receivers = Slots(lambda: settings.WEBHOOK_CONCURRENCY, lambda: max(1, settings.WEBHOOK_CONCURRENCY // 4))
_keys = Slots(lambda: settings.WEBHOOK_CONCURRENCY, lambda: max(1, settings.WEBHOOK_CONCURRENCY // 2))


class Postponed(Exception):
    """The job continues at this time, by the database's clock, which also decides when a job is fetched."""

    is_routine = True  # the queue's line about it is not logged

    def __init__(self, until: datetime):
        super().__init__(f"postponed until {until:%Y-%m-%d %H:%M:%S}")
        self.until = until


class DeliveryRetry(BaseRetryStrategy):
    """Retries every exception that reaches the queue; the delivery limits the number of attempts."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        if isinstance(exception, Postponed):
            return RetryDecision(retry_at=exception.until)
        is_stopping = isinstance(exception, JobAborted | asyncio.CancelledError)
        seconds = 0 if is_stopping else retry_policies.WEBHOOK_JOB.pause(job.attempts + 1)
        return RetryDecision(retry_in={"seconds": seconds})


@dataclass(frozen=True, slots=True)
class Attempt:
    delivery: WebhookDelivery
    number: int
    url: str
    headers: dict[str, str]
    body: bytes
    slots: ExitStack


@app.task(name=DELIVERY_TASK, queue=WEBHOOKS, pass_context=True, retry=DeliveryRetry())
async def deliver(context: JobContext, delivery_id: str) -> None:
    """One attempt at a delivery. Raises Postponed if the queue has to retry the job."""
    attempt = await _in_thread(_start, delivery_id, context.job.attempts)
    if attempt is None:
        return
    with attempt.slots:
        outcome = await sending.send(attempt.url, attempt.headers, attempt.body)
    await _in_thread(_finish, attempt, outcome)


def _start(delivery_id: str, postponements: int) -> Attempt | None:
    """Start an attempt, or return None if there is nothing to send. Raises Postponed."""
    delivery = _retried(_load, delivery_id)
    if delivery is None or delivery.state != WebhookDelivery.State.PENDING:
        return None
    if delivery.next_attempt_at > delivery.now:  # the job of a worker that died runs again at once
        raise Postponed(delivery.next_attempt_at)
    with ExitStack() as slots:
        url = delivery.generation.submission.webhook
        try:
            slots.callback(_receivers.take(addresses.origin(addresses.parse(url))).release)
            slots.callback(_keys.take(delivery.generation.api_key_id).release)
        except HolderFull:
            pause = retry_policies.WEBHOOK_JOB.pause(postponements + 1)
            raise Postponed(delivery.now + timedelta(seconds=pause)) from None
        number = retry.unit_of_work(find=lambda: None, long_running=True)(delivery.start)()
        if number is None or _has_failed(delivery, number):
            return None
        # Addresses in it are signed for the generation's key from now on.
        base_url = settings.PUBLIC_URL or delivery.generation.submission.base_url
        body = _retried(payloads.of, delivery, Viewer(base_url, delivery.generation.api_key_id))
        if body is None:  # it is no event of the interface
            _retried(delivery.succeed)
            return None
        secret = _retried(WebhookSecret.objects.of, delivery.generation.api_key)
        headers = signature.headers(secret.valid, str(delivery.pk), body)
        return Attempt(delivery, number, url, headers, body, slots.pop_all())


def _has_failed(delivery: WebhookDelivery, number: int) -> bool:
    """Fail a delivery whose last attempt ended without an outcome, because of an error or a killed worker."""
    return delivery.counted_attempts > retry_policies.WEBHOOK.attempts and _retried(
        delivery.fail, number, "its last attempt was interrupted; the log may have the reason"
    )


def _load(delivery_id: str) -> WebhookDelivery | None:
    # The join includes deleted generations.
    rows = WebhookDelivery.objects.select_related("generation__submission", "generation__api_key")
    return rows.annotate(now=Now()).filter(pk=delivery_id).first()


def _finish(attempt: Attempt, outcome: Outcome) -> None:
    """Store the outcome. Raises Postponed if there is another attempt."""
    delivery, policy = attempt.delivery, retry_policies.WEBHOOK
    what = f"Webhook {delivery.pk}, {delivery.event} of generation {delivery.generation_id}"
    if outcome.error is None:
        _retried(delivery.succeed, outcome.status)
        logger.info("%s: delivered.", what)
    elif outcome.is_final or delivery.counted_attempts >= policy.attempts:
        _retried(delivery.fail, attempt.number, outcome.error, outcome.status)
        logger.warning("%s: failed after %d attempts: %s.", what, delivery.counted_attempts, outcome.error)
    else:
        pause = max(policy.pause(delivery.counted_attempts), min(outcome.retry_after, policy.max_pause))
        logger.info("%s: attempt %d failed: %s.", what, attempt.number, outcome.error)
        # A later attempt has a job of its own.
        if _retried(delivery.postpone, attempt.number, pause, outcome.error, outcome.status):
            raise Postponed(delivery.next_attempt_at)


def _retried(function: Callable[..., T], *args) -> T:
    return retry.idempotent(function, long_running=True)(*args)


async def _in_thread(step: Callable[..., T], *args) -> T:
    """Run a step that uses the database, and return the connection to the pool."""

    def run() -> T:
        try:
            return step(*args)
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(_threads, run)
