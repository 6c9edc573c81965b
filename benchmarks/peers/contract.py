"""What the peers share: the form of requests and responses, ids, signatures, and the limiter's statement."""

import hashlib
import hmac
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from random import getrandbits
from typing import Annotated, Literal
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

_parsed = conninfo_to_dict(os.environ["DATABASE_URL"])
DATABASE = {name: _parsed[name] for name in ("host", "user", "password") if name in _parsed}  # as asyncpg takes it
DATABASE |= {"port": int(_parsed.get("port", 5432)), "database": _parsed["dbname"]}
CONNECTIONS = 10  # of each process
STATUSES = ("pending", "processing", "completed", "failed", "cancelled")
StatusName = Literal[STATUSES]
RENDER_QUEUE, RENDER_TASK = "render", "generations.render"
COST = 60_000_000  # of one request in the bucket, and the microseconds in which a whole limit is regained
SIGNED_URL_LIFETIME, SIGNED_URL_STEP = 3600, 360  # seconds

_secret = hashlib.sha256(b"lockngen.signed_urlssigner" + os.environ["SECRET_KEY"].encode()).digest()

# GCRA: what a key has used and not yet regained. The clock is read after the bucket's row is locked.
TAKE = """
    INSERT INTO apikeys_bucket AS bucket (key_id, spent, is_admitted, measured_at) {new}
    ON CONFLICT (key_id) DO UPDATE SET (spent, is_admitted, measured_at) = (
        SELECT owed + CASE WHEN fits THEN {cost} ELSE 0 END, fits, clock
        FROM (SELECT clock_timestamp() AS clock, {rate} AS rate OFFSET 0) AS now,
        LATERAL (SELECT least({cost}, greatest(0, extract(epoch FROM clock - bucket.measured_at) * 1000000))::bigint
                 AS passed) AS time,
        LATERAL (SELECT greatest(0, bucket.spent - rate * passed) AS owed) AS debt,
        LATERAL (SELECT owed + {cost} <= rate * {cost} AS fits) AS decision
    ) RETURNING spent, is_admitted
"""


class GenerationIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    negative_prompt: str = Field("", max_length=2000)
    model: Literal["default", "sketch"] = "default"
    width: Annotated[StrictInt, Field(ge=64, le=2048, multiple_of=8)] = 512
    height: Annotated[StrictInt, Field(ge=64, le=2048, multiple_of=8)] = 512
    steps: Annotated[StrictInt, Field(ge=1, le=150)] = 30
    guidance: float = Field(7.0, ge=0, le=30, strict=True)
    seed: Annotated[StrictInt, Field(ge=0, le=2**53 - 1)] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    quality: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    keep_metadata: StrictBool | None = None
    labels: dict[str, str] = Field({}, max_length=16)


def uuid7() -> UUID:
    return UUID(
        int=(time.time_ns() // 1_000_000 << 80) | (7 << 76) | (getrandbits(12) << 64) | (2 << 62) | getrandbits(62)
    )


def digest(authorization: str | None) -> str | None:
    """The hash of a bearer token, or None for any other header."""
    scheme, _, token = (authorization or "").partition(" ")
    return hashlib.sha256(token.strip().encode()).hexdigest() if scheme.lower() == "bearer" else None


def limit_headers(limit: int, spent: int) -> dict[str, str]:
    values = {"Limit": limit, "Remaining": (limit * COST - spent) // COST, "Reset": -(-spent // (limit * 1_000_000))}
    return {f"{form}-{name}": str(value) for form in ("RateLimit", "X-RateLimit") for name, value in values.items()}


def retry_after(limit: int, spent: int) -> str:
    return str(-(-(spent + COST - limit * COST) // (limit * 1_000_000)))


def as_time(at: datetime | None) -> str | None:
    precision = "milliseconds" if at and at.microsecond else "seconds"  # as Django's encoder does
    return at and at.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def encode_cursor(id: UUID) -> str:
    return urlsafe_b64encode(id.bytes).decode().rstrip("=")


def decode_cursor(cursor: str) -> UUID:
    return UUID(bytes=urlsafe_b64decode(cursor + "=="))


def represent(row, key_id: UUID, base: str) -> dict:
    """A generation as the native API shows it. `base` is the address that the client used."""
    address = f"{base}/api/v1/generations/{row.id}"
    expires = int(time.time() + SIGNED_URL_LIFETIME) // SIGNED_URL_STEP * SIGNED_URL_STEP + SIGNED_URL_STEP
    has_image = row.image_path is not None
    return {
        "id": str(row.id),
        "status": STATUSES[row.status],
        "progress": 100 if row.status == 2 else 0,
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
        "labels": row.labels,
        "image_url": f"{address}/image" if has_image else None,
        "thumbnail_url": f"{address}/image?size=thumb" if has_image else None,
        "signed_urls": {
            "image": f"{address}/image?signature={_sign(key_id, row.id, 'image', expires)}" if has_image else None,
            "thumbnail": f"{address}/image?size=thumb&signature={_sign(key_id, row.id, 'thumbnail', expires)}"
            if has_image
            else None,
            "events": f"{address}/events?signature={_sign(key_id, row.id, 'events', expires)}",
            "expires_at": datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z"),
        },
        "image": {
            "width": row.image_width,
            "height": row.image_height,
            "bytes": row.image_bytes,
            "type": row.image_type,
            "sha256": row.image_sha256,
        }
        if row.image_sha256 is not None
        else None,
        "error": row.error_message,
        "created_at": as_time(row.created_at),
        "started_at": as_time(row.started_at),
        "completed_at": as_time(row.completed_at),
    }


def _sign(key_id: UUID, id: UUID, purpose: str, expires: int) -> str:
    head = f"{encode_cursor(key_id)}.{expires}"
    mac = hmac.digest(_secret, f"{purpose}:{id}:{head}".encode(), "sha256")
    return f"{head}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
