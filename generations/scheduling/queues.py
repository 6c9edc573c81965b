"""The names of the queue's queues. A worker takes from those whose work it can do."""

from generations.renderers.base import DEFAULT_MODEL, LONGEST_MODEL_NAME

RENDER_TASK = "generations.render"
MAINTENANCE = "maintenance"
RENDER = "render"  # of whatever is the default model


def of_model(model: str) -> str:
    is_own = model != DEFAULT_MODEL and len(model) <= LONGEST_MODEL_NAME
    return f"{RENDER}-{model}" if is_own else RENDER
