"""Generations as JSON, for every response of the native API. `schemas.py` documents the result."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse

from generations.api import cursors, signed_urls
from generations.progress import notifications
from lockngen.web import links

JSON = "application/json; charset=utf-8"


@dataclass
class Viewer:
    """The recipient of a response: the start of its links, and the key for which addresses are signed."""

    base_url: str
    key_id: UUID

    @classmethod
    def of(cls, request: HttpRequest) -> "Viewer":
        return cls(links.base(request), request.auth.pk)

    @cached_property
    def signatures(self) -> signed_urls.Signatures:
        """Of one response: all of its addresses expire at the same time."""
        return signed_urls.Signatures(self.key_id)


def address(viewer: Viewer, id: UUID | str) -> str:
    return f"{viewer.base_url}/api/v1/generations/{id}"


def signed_image(viewer: Viewer, id: UUID | str) -> str:
    return f"{address(viewer, id)}/image?signature={viewer.signatures.of(str(id), 'image')}"


def signed_preview(viewer: Viewer, id: UUID | str, number: int) -> str:
    return f"{address(viewer, id)}/preview?number={number}&signature={viewer.signatures.of(str(id), 'preview')}"


def generation(row: Any, viewer: Viewer, progress: Callable[[Any], int] = notifications.percent) -> dict[str, Any]:
    """A generation, or a row with its columns, as GenerationOut."""
    id = str(row.id)
    url = address(viewer, id)
    image_url = f"{url}/image" if row.image_path is not None else None
    return {
        "id": id,
        "status": row.status_name,
        "progress": progress(row),
        "prompt": row.prompt,
        "negative_prompt": row.negative_prompt,
        "model": row.model,
        "width": row.width,
        "height": row.height,
        "steps": row.steps,
        "guidance": row.guidance,
        "seed": row.seed,
        "output_format": row.output_format,
        "quality": row.quality,
        "keep_metadata": row.keep_metadata,
        "labels": row.labels if isinstance(row.labels, dict) else orjson.loads(row.labels),
        "image_url": image_url,
        "thumbnail_url": image_url and f"{image_url}?size=thumb",
        "signed_urls": {
            "image": image_url and signed_image(viewer, id),
            "thumbnail": image_url and f"{image_url}?size=thumb&signature={viewer.signatures.of(id, 'thumbnail')}",
            "events": f"{url}/events?signature={viewer.signatures.of(id, 'events')}",
            "expires_at": viewer.signatures.expires_at,
        },
        "image": _image(row),
        "error": row.error_message,
        "created_at": timestamp(row.created_at),
        "started_at": timestamp(row.started_at),
        "completed_at": timestamp(row.completed_at),
    }


def progress(generation: Any, viewer: Viewer) -> dict[str, Any]:
    """The state of a generation as ProgressOut."""
    report = notifications.last_report(generation)
    has_preview = report and report.preview
    return {
        "status": generation.status_name,
        "progress": notifications.percent(generation),
        "step": report and report.step,
        "steps": report and report.steps,
        "preview": signed_preview(viewer, generation.pk, report.preview) if has_preview else None,
    }


def page(rows: list[Any], limit: int, viewer: Viewer) -> dict[str, Any]:
    """The first `limit` of the rows as GenerationPage. One more row shows that there is another page."""
    items = [generation(row, viewer) for row in rows[:limit]]
    return {"items": items, "next_cursor": cursors.encode(rows[limit - 1].pk) if len(rows) > limit else None}


def as_json(shown: dict[str, Any]) -> bytes:
    return orjson.dumps(shown)


def response(shown: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(as_json(shown), status=status, content_type=JSON, headers=headers)


def _image(row: Any) -> dict[str, Any] | None:
    if row.image_sha256 is None:  # not completed, or completed before these facts were stored
        return None
    return {
        "width": row.image_width,
        "height": row.image_height,
        "bytes": row.image_bytes,
        "type": row.image_type,
        "sha256": row.image_sha256,
    }


def timestamp(at: datetime | str | None) -> str | None:
    """In milliseconds, UTC: what JavaScript's Date can hold. A text is as PostgreSQL writes it."""
    if at is None:
        return None
    text = at if isinstance(at, str) else at.isoformat(" ")
    # PostgreSQL omits trailing zeros, and the fraction of a whole second.
    milliseconds = f".{text[20:-3][:3]:0<3}" if text[19:20] == "." else ""
    return f"{text[:10]}T{text[11:19]}{milliseconds}Z"
