"""Generations as JSON, for every response of the native API. `schemas.py` documents the result."""

from dataclasses import dataclass
from datetime import UTC, datetime
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


def address(viewer: Viewer, id: UUID) -> str:
    return f"{viewer.base_url}/api/v1/generations/{id}"


def generation(row: Any, viewer: Viewer) -> dict[str, Any]:
    """A generation, or a row with its columns, as GenerationOut."""
    url, has_image = address(viewer, row.id), row.image_path is not None
    image_url = f"{url}/image" if has_image else None
    return {
        "id": str(row.id),
        "status": row.status_name,
        "progress": notifications.percent(row),
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
        "image_url": image_url,
        "thumbnail_url": image_url and f"{image_url}?size=thumb",
        "signed_urls": _signed(row, url, viewer.signatures),
        "image": _image(row),
        "error": row.error_message,
        "created_at": _time(row.created_at),
        "started_at": _time(row.started_at),
        "completed_at": _time(row.completed_at),
    }


def page(rows: list[Any], limit: int, viewer: Viewer) -> dict[str, Any]:
    """The first `limit` of the rows as GenerationPage. One more row shows that there is another page."""
    items = [generation(row, viewer) for row in rows[:limit]]
    return {"items": items, "next_cursor": cursors.encode(rows[limit - 1].id) if len(rows) > limit else None}


def as_json(shown: dict[str, Any]) -> bytes:
    return orjson.dumps(shown)


def response(shown: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(as_json(shown), status=status, content_type=JSON, headers=headers)


def _signed(row: Any, url: str, signatures: signed_urls.Signatures) -> dict[str, Any]:
    has_image = row.image_path is not None
    return {
        "image": f"{url}/image?signature={signatures.of(row.id, 'image')}" if has_image else None,
        "thumbnail": f"{url}/image?size=thumb&signature={signatures.of(row.id, 'thumbnail')}" if has_image else None,
        "events": f"{url}/events?signature={signatures.of(row.id, 'events')}",
        "expires_at": _time(datetime.fromtimestamp(signatures.expires, UTC)),
    }


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


def _time(at: datetime | None) -> str | None:
    """In milliseconds, UTC: what JavaScript's Date can hold."""
    if at is None:
        return None
    text = at.isoformat()
    return f"{text[:23] if at.microsecond else text[:19]}Z"
