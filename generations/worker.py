"""What a worker of the queue takes on: as much as its renderers can do, and nothing they can't."""

from typing import Any

from django.conf import settings
from django.core.management import CommandError

from generations import queues, renderers
from lockngen import exit_codes


def options(given: dict[str, Any]) -> dict[str, Any]:
    """The queues and the concurrency of a worker that was started with these options.

    Raises CommandError where it would take renders that none of its renderers can do.
    """
    fleet = renderers.get_fleet()
    own = [queues.RENDER, *map(queues.of_model, fleet.models)]
    taken = given.get("queues", [queues.MAINTENANCE, *own])  # None is all
    known = [queues.MAINTENANCE, *own]
    if foreign := [name for name in taken or () if name not in known]:
        raise CommandError(
            f"--queues: no renderer here serves {', '.join(map(repr, foreign))}; the queues are {', '.join(known)}.",
            returncode=exit_codes.USAGE,
        )
    concurrency = given.get("concurrency", settings.WORKER_CONCURRENCY)
    return {"queues": taken, "concurrency": int(min(concurrency, fleet.at_once))}
