"""The names of the queues. A worker fetches jobs from the queues of its renderers' models."""

from generations.renderers.base import DEFAULT_MODEL, MAX_MODEL_NAME

RENDER_TASK = "generations.render"
DELIVERY_TASK = "generations.deliver_webhook"
MAINTENANCE = "maintenance"
WEBHOOKS = "webhooks"
RENDER = "render"  # for the default model


def of_model(model: str) -> str:
    is_own = model != DEFAULT_MODEL and len(model) <= MAX_MODEL_NAME
    return f"{RENDER}-{model}" if is_own else RENDER
