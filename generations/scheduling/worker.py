"""A worker's queues and concurrency: what its renderers support, and webhooks beside it."""

import asyncio
import logging
import time
from threading import Thread
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from procrastinate import App, signals

from generations import renderers
from generations.renderers.base import DEFAULT_MODEL
from generations.renderers.pool import SUPPORT_WITHIN, RendererPool
from generations.scheduling import queues
from generations.scheduling.queues import WEBHOOKS
from lockngen import exit_codes

logger = logging.getLogger(__name__)

REFRESH_INTERVAL = 5.0  # seconds; the renderers themselves are queried once a minute


def options(given: dict[str, Any]) -> dict[str, Any]:
    """How a worker that is started with these options is run: arguments of `run`, and `run` itself.

    Raises CommandError for a queue whose model none of its renderers has.
    """
    pool = renderers.get_pool()
    if not pool.has_all_models:
        pool.refresh(SUPPORT_WITHIN)
    known = [*_known(pool), WEBHOOKS]
    chosen = given.get("queues")  # None means all
    unknown = [name for name in chosen or () if name not in known]
    if unknown and pool.has_all_models:
        raise CommandError(
            f"--queues: no renderer here serves {', '.join(map(repr, unknown))}; the queues are {', '.join(known)}.",
            returncode=exit_codes.USAGE,
        )
    fetched = [name for name in chosen or known if name != WEBHOOKS]
    if fetched and any(hasattr(pooled.renderer, "support") for pooled in pool.renderers):
        follow(fetched, chosen and list(fetched))
    concurrency = given.get("concurrency", settings.WORKER_CONCURRENCY)
    return {
        "queues": fetched,
        "concurrency": int(min(concurrency, pool.concurrency)),
        "sends_webhooks": WEBHOOKS in (chosen or known),
        "func": run,
    }


async def run(app: App, queues: list[str], concurrency: int, sends_webhooks: bool, **options: Any) -> None:
    """Run two of procrastinate's workers as one process and one row of the queue's table of workers.

    So webhooks have a concurrency of their own: a slow receiver holds no render, and a render no webhook.
    """
    fetched = [(queues, concurrency)] if queues else []
    fetched += [([WEBHOOKS], settings.WEBHOOK_CONCURRENCY)] if sends_webhooks else []
    options |= {"install_signal_handlers": False}
    workers = [
        asyncio.create_task(app.run_worker_async(queues=names, concurrency=number, **options))
        for names, number in fetched
    ]

    not_stopped = list(workers)

    def stop() -> None:
        while not_stopped:  # a worker that is cancelled twice ends before it has aborted its jobs
            not_stopped.pop().cancel()

    with signals.on_stop(stop):
        is_permanent = options.get("wait", True)
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED if is_permanent else asyncio.ALL_COMPLETED)
        stop()
        for result in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(result, Exception):  # not a CancelledError
                raise result


def follow(fetched: list[str], chosen: list[str] | None) -> None:
    """Update the list of a worker's queues in the background as the models of its renderers change.

    The chosen queues are those of its options, by default those of all models.
    """

    def update_repeatedly() -> None:
        while True:
            update(fetched, chosen)
            time.sleep(REFRESH_INTERVAL)

    Thread(target=update_repeatedly, name="worker-queues", daemon=True).start()


def update(fetched: list[str], chosen: list[str] | None) -> None:
    """Reduce the fetched queues to the chosen ones, or all, whose model is available at the moment."""
    pool = renderers.get_pool()
    pool.refresh(SUPPORT_WITHIN)
    unavailable = pool.unavailable()
    models = (DEFAULT_MODEL, *pool.models)
    idle = {queues.of_model(model) for model in models if pool.resolve_model(model) in unavailable}
    served = [name for name in chosen or _known(pool) if name not in idle]
    if served == fetched:
        return
    if reasons := "; ".join(f"{model}: {reason}" for model, reason in unavailable.items()):
        logger.warning("The worker fetches no jobs of models that can't be rendered: %s", reasons)
    else:
        logger.info("The worker fetches jobs of all its models.")
    fetched[:] = served  # the worker reads this list each time it fetches a job


def _known(pool: RendererPool) -> list[str]:
    return [queues.MAINTENANCE, queues.RENDER, *map(queues.of_model, pool.models)]
