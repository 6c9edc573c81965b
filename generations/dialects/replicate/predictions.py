"""Predictions: the generations of one create call, shown as one object. Its id is that of the first generation."""

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

from django.core.files.storage import default_storage

from generations.api import presenters
from generations.api.presenters import Viewer
from generations.api.waiting import follow
from generations.dialects.replicate import versions
from generations.images import downloads
from generations.models import Generation
from generations.progress import notifications
from generations.status import Status
from generations.webhooks import payloads
from generations.webhooks.models import Event, WebhookDelivery
from lockngen.web import event_streams, threads
from lockngen.web.problems import Problem

INTERFACE = "replicate"
MAX_INLINE_BYTES = 32 * 1024 * 1024  # of the images in one response

STATUSES = {
    Status.PENDING: "starting",
    Status.PROCESSING: "processing",
    Status.COMPLETED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "canceled",
}


def of_calls(firsts: Sequence[Generation]) -> list[list[Generation]]:
    """The generations of each create call whose first generation is given. Those of later ones may be deleted."""
    calls = defaultdict(list)
    submissions = [first.submission_id for first in firsts if first.submission_id]
    for generation in Generation.all_objects.filter(submission__in=submissions).order_by("id"):
        calls[generation.submission_id].append(generation)
    return [calls.get(first.submission_id, [first]) for first in firsts]


def status_of(generations: list[Generation]) -> str:
    """The prediction is unfinished as long as one generation is, and has succeeded if all have."""
    present = {generation.status for generation in generations}
    unfinished = present & {Status.PENDING, Status.PROCESSING}
    if unfinished:
        return STATUSES[Status.PENDING if present == {Status.PENDING} else Status.PROCESSING]
    return STATUSES[max(present, key=[Status.COMPLETED, Status.CANCELLED, Status.FAILED].index)]


def as_prediction(
    generations: list[Generation],
    viewer: Viewer,
    *,
    is_inline: bool = True,
    progress: Callable[[Generation], int] = notifications.percent,
) -> dict[str, Any]:
    """The prediction. With `is_inline` its images may be in it, which are then read from the storage."""
    first, status = generations[0], status_of(generations)
    model, version = versions.shown_version(first.model)
    url = f"{viewer.base_url}/v1/predictions/{first.id}"
    signature = viewer.signatures.of(str(first.id), "prediction")
    started_at = min((each.started_at for each in generations if each.started_at), default=None)
    ends = [each.completed_at for each in generations]
    completed_at = max(ends) if all(ends) else None
    return {
        "id": str(first.id),
        "model": model,
        "version": version,
        "status": status,
        "input": _input(generations),
        "output": _outputs(generations, viewer, is_inline) or None,
        "error": _error(generations),
        "logs": _logs(generations, progress),
        "metrics": _metrics(first.created_at, started_at, completed_at),
        "data_removed": any(each.is_deleted for each in generations),
        "source": "api",
        "created_at": presenters.timestamp(first.created_at),
        "started_at": presenters.timestamp(started_at),
        "completed_at": presenters.timestamp(completed_at),
        "urls": {
            "get": url,
            "cancel": f"{url}/cancel",
            # The JavaScript client reads outputs as files only from a stream with this path.
            "stream": f"{viewer.base_url}/v1/files/{first.id}/events?signature={signature}",
            "web": f"{viewer.base_url}/admin/generations/generation/{first.id}/change/",
        },
    }


async def events(generations: list[Generation], viewer: Viewer, sent: int) -> event_streams.Source:
    """Yield `logs` at each change, the `output` of each generation in order without the first `sent`, then `done`.

    An event's id, which clients require, is the number of outputs so far.
    """
    generations, logs, count = list(generations), "", 0
    for index, generation in enumerate(generations):
        async with aclosing(follow(generation, viewer.key_id)) as states:
            async for current in states:
                generations[index] = current
                if logs != (logs := _logs(generations, notifications.percent)):
                    yield event_streams.event("logs", logs, id=str(count))
                yield None
        if generations[index].is_unfinished:
            return  # the key isn't usable any more
        for output in await threads.read_file(_outputs, [generations[index]], viewer):
            count += 1
            if count > sent:
                yield event_streams.event("output", output, id=str(count))
    if error := _error(generations):
        yield event_streams.event("error", json.dumps({"detail": error}), id=str(count))
    reason = {"failed": {"reason": "error"}, "canceled": {"reason": "canceled"}}.get(status_of(generations), {})
    yield event_streams.event("done", json.dumps(reason), id=str(count))


def as_webhook(delivery: WebhookDelivery, generation: Generation, viewer: Viewer) -> dict[str, Any] | None:
    """The prediction, for each output, and for its first start and its end alone."""
    (generations,) = of_calls([generation])
    if delivery.event == Event.START:
        started = [each for each in generations if each.started_at]
        if generation != min(started, key=lambda each: (each.started_at, each.id), default=generation):
            return None
    if delivery.event == Event.COMPLETED:
        ended = [each for each in generations if each.completed_at]
        if len(ended) < len(generations) or generation != max(ended, key=lambda each: (each.completed_at, each.id)):
            return None
    return as_prediction(generations, viewer, is_inline=False, progress=payloads.progress)


def _input(generations: list[Generation]) -> dict[str, Any]:
    """The parameters by the names of `Input`; the seed is that of the first."""
    first = generations[0]
    fields = {
        "prompt": first.prompt,
        "negative_prompt": first.negative_prompt or None,
        "width": first.width,
        "height": first.height,
        "seed": first.seed,
        "num_outputs": len(generations),
        "num_inference_steps": first.steps,
        "guidance_scale": first.guidance,
        "output_format": first.output_format,
        "output_quality": first.quality,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _outputs(generations: list[Generation], viewer: Viewer, is_inline: bool = True) -> list[str]:
    """The images: signed addresses, or data URLs where clients can't fetch these.

    Clients make files only of outputs that begin with https: or data:. The Python client follows no redirect to S3.
    """
    is_inline = is_inline and (not viewer.base_url.startswith("https:") or hasattr(default_storage, "signed_url"))
    outputs, left = [], MAX_INLINE_BYTES if is_inline else 0
    for generation in generations:
        if generation.image_path and not generation.is_deleted:
            image = _read(generation, left)
            left -= len(image)
            outputs.append(_data_url(generation, image) if image else presenters.signed_image(viewer, generation.id))
    return outputs


def _read(generation: Generation, limit: int) -> bytes:
    """The image; empty if it is larger than the limit or can't be read."""
    with suppress(Problem):
        if limit and (generation.image_bytes or 0) <= limit:  # not known of old ones
            image = downloads.content(generation)
            return image if len(image) <= limit else b""
    return b""


def _data_url(generation: Generation, image: bytes) -> str:
    return f"data:image/{downloads.format_of(generation)};base64,{b64encode(image).decode()}"


def _error(generations: list[Generation]) -> str | None:
    return next((each.error_message for each in generations if each.error_message), None)


def _logs(generations: list[Generation], progress: Callable[[Generation], int]) -> str:
    """The progress, as clients read it from logs."""
    percent = sum(map(progress, generations)) // len(generations)
    return f"{percent}%|{'█' * (percent // 10):10}| {percent}/100" if percent else ""


def _metrics(created_at: datetime, started_at: datetime | None, completed_at: datetime | None) -> dict[str, float]:
    if started_at is None or completed_at is None:
        return {}
    return {
        "predict_time": (completed_at - started_at).total_seconds(),
        "total_time": (completed_at - created_at).total_seconds(),
    }


payloads.register(INTERFACE, as_webhook)
