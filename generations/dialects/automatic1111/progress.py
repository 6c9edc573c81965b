from datetime import UTC, datetime
from typing import Any

from apikeys.models import ApiKey
from generations.dialects import outcomes
from generations.dialects.automatic1111.txt2img import LABELS
from generations.models import Generation
from generations.progress import notifications


def running_call(key: ApiKey) -> list[Generation]:
    """The generations of the key's call that is being rendered, or else of the one that waits longest."""
    unfinished = Generation.objects.owned_by(key).labelled(LABELS).unfinished()
    first = unfinished.order_by("-status", "id").first()
    if first is None or first.submission_id is None:
        return [first] if first else []
    return list(Generation.all_objects.filter(submission=first.submission_id).order_by("id"))


def of_call(generations: list[Generation], with_preview: bool) -> dict[str, Any]:
    """The progress as AUTOMATIC1111 shows it; without generations, that of an idle server."""
    finished = sum(not generation.is_unfinished for generation in generations)
    current = next((generation for generation in generations if generation.is_unfinished), None)
    report = current and notifications.last_report(current)
    percent = sum(notifications.percent(each) if each.is_unfinished else 100 for each in generations)
    progress = percent / 100 / len(generations) if generations else 0.0
    return {
        "progress": progress,
        "eta_relative": _seconds_left(generations, progress),
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": str(current.id) if current else "",
            "job_count": len(generations),
            "job_timestamp": f"{current.created_at if current else datetime.now(UTC):%Y%m%d%H%M%S}",
            "job_no": finished,
            "sampling_step": (report and report.step) or 0,
            "sampling_steps": (report and report.steps) or 0,
        },
        "current_image": outcomes.preview(current) if report and report.preview and with_preview else None,
        "textinfo": None,
    }


def _seconds_left(generations: list[Generation], progress: float) -> float:
    started_at = min((each.started_at for each in generations if each.started_at), default=None)
    if started_at is None or not progress:
        return 0.0
    elapsed = (datetime.now(UTC) - started_at).total_seconds()
    return max(0.0, elapsed / progress - elapsed)
