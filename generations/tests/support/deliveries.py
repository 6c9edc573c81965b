"""Attempts at deliveries of webhooks, as a worker makes them."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

from generations.webhooks.delivery import deliver
from generations.webhooks.models import WebhookDelivery

CONTEXT = SimpleNamespace(job=SimpleNamespace(attempts=0))


def run(delivery: WebhookDelivery) -> None:
    """Run the task once."""
    asyncio.run(deliver(CONTEXT, str(delivery.pk)))


def run_at_once(deliveries: Sequence[WebhookDelivery]) -> list[BaseException | None]:
    """Run the tasks concurrently, and return what they raised."""

    async def run_all() -> list[BaseException | None]:
        tasks = [deliver(CONTEXT, str(delivery.pk)) for delivery in deliveries]
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run_all())
