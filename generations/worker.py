"""What a worker of the queue takes on: as much as its renderers can do, and nothing they can't."""

from typing import Any

from django.conf import settings
from django.core.management import CommandError

from generations import queues, renderers


def options(given: dict[str, Any]) -> dict[str, Any]:
    """The queues and the concurrency of a worker that was started with these options.

    Raises CommandError where it would take renders that none of its renderers can do.
    """
    fleet = renderers.get_fleet()
    own = [queues.RENDER, *map(queues.of_model, fleet.models)]
    taken = given.get("queues", [queues.MAINTENANCE, *own])  # None is all
    if foreign := [name for name in taken or () if name.startswith(f"{queues.RENDER}-") and name not in own]:
        raise CommandError(f"--queues: no renderer here serves {', '.join(foreign)}; they serve {', '.join(own)}.")
    concurrency = given.get("concurrency", settings.WORKER_CONCURRENCY)
    return {"queues": taken, "concurrency": int(min(concurrency, fleet.at_once))}
