"""The content of webhooks: each interface has its own, made from the generation's state when it is sent."""

from collections.abc import Callable
from typing import Any

from generations.api import presenters
from generations.api.presenters import Viewer
from generations.models import Generation
from generations.status import Status
from generations.webhooks.models import WebhookDelivery

NATIVE = "native"
Payload = Callable[[WebhookDelivery, Generation, Viewer], dict[str, Any] | None]
"""Makes the content, or None for an event of a generation that is no event of the interface."""

_payloads: dict[str, Payload] = {}


def register(interface: str, payload: Payload) -> None:
    _payloads[interface] = payload


def of(delivery: WebhookDelivery, viewer: Viewer) -> bytes | None:
    """The body of a delivery whose generation and submission are loaded. None if there is nothing to send."""
    generation = delivery.generation
    content = _payloads[generation.submission.interface](delivery, generation, viewer)
    return content and presenters.as_json(content)


def native(delivery: WebhookDelivery, generation: Generation, viewer: Viewer) -> dict[str, Any]:
    return {
        "type": f"generation.{delivery.event}",
        "timestamp": presenters.timestamp(delivery.created_at),
        "data": presenters.generation(generation, viewer, progress),
    }


def progress(generation: Generation) -> int:
    """Without the listener for reports, which only web processes have."""
    return 100 if generation.status == Status.COMPLETED else 0


register(NATIVE, native)
