"""Limits a worker's queues and concurrency to what its renderers support."""

import logging
import time
from threading import Thread
from typing import Any

from django.conf import settings
from django.core.management import CommandError

from generations import renderers
from generations.renderers.base import DEFAULT_MODEL
from generations.renderers.pool import SUPPORT_WITHIN
from generations.scheduling import queues
from lockngen import exit_codes

logger = logging.getLogger(__name__)

REFRESH_INTERVAL = 5.0  # seconds; the renderers are queried once a minute


def options(given: dict[str, Any]) -> dict[str, Any]:
    """The queues and the concurrency of a worker that was started with these options.

    Raises CommandError if a queue has a model that none of its renderers has.
    """
    pool = renderers.get_pool()
    own = [queues.RENDER, *map(queues.of_model, pool.models)]
    taken = given.get("queues", [queues.MAINTENANCE, *own])  # None is all
    known = [queues.MAINTENANCE, *own]
    if foreign := [name for name in taken or () if name not in known]:
        raise CommandError(
            f"--queues: no renderer here serves {', '.join(map(repr, foreign))}; the queues are {', '.join(known)}.",
            returncode=exit_codes.USAGE,
        )
    if taken and any(hasattr(pooled.renderer, "support") for pooled in pool.renderers):
        follow(taken)
    concurrency = given.get("concurrency", settings.WORKER_CONCURRENCY)
    return {"queues": taken, "concurrency": int(min(concurrency, pool.concurrency))}


def follow(taken: list[str]) -> None:
    """Update the list of a worker's queues in the background as the models of its renderers change."""
    Thread(target=_follow, args=(taken, list(taken)), name="worker-queues", daemon=True).start()


def _follow(taken: list[str], chosen: list[str]) -> None:
    while True:
        update(taken, chosen)
        time.sleep(REFRESH_INTERVAL)


def update(taken: list[str], chosen: list[str]) -> None:
    """Reduce the chosen queues to those whose model is available at the moment."""
    pool = renderers.get_pool()
    pool.refresh(SUPPORT_WITHIN)
    unavailable = pool.unavailable()
    idle = {queues.of_model(model) for model in unavailable}
    if pool.resolve_model(DEFAULT_MODEL) in unavailable:
        idle.add(queues.RENDER)
    served = [name for name in chosen if name not in idle]
    if served == taken:
        return
    if reasons := "; ".join(f"{model}: {reason}" for model, reason in unavailable.items()):
        logger.warning("The worker takes no pictures of models that can't be rendered: %s", reasons)
    else:
        logger.info("The worker takes pictures of all its models.")
    taken[:] = served  # the worker reads this list each time it fetches a job
