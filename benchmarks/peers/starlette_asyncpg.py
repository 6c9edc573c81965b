"""Starlette, asyncpg and SQL written by hand: few round trips and no ORM."""

from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers import contract

COLUMNS = """
    id, status, prompt, negative_prompt, model, width, height, steps, guidance, seed, output_format, quality,
    keep_metadata, labels, image_path, image_width, image_height, image_bytes, image_type, image_sha256, error_message,
    created_at, started_at, completed_at
"""
TAKE = contract.TAKE.format(
    new=f"SELECT id, {contract.COST}, true, clock_timestamp() FROM key WHERE rate_limit > 0",
    rate="(SELECT rate_limit::bigint FROM key)",
    cost=contract.COST,
)
AUTHENTICATE = f"""
    WITH key AS (
        SELECT id, rate_limit, last_used_at FROM apikeys_apikey
        WHERE key_hash = $1::bpchar AND is_active AND NOT is_deleted AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > now())
    ), taken AS ({TAKE})
    SELECT id, rate_limit, spent, is_admitted,
        last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS is_noted_late
    FROM key LEFT JOIN taken ON true
"""
NOTE = "UPDATE apikeys_apikey SET last_used_at = now() WHERE id = $1"
CREATE = f"""
    WITH generation AS (
        INSERT INTO generations_generation (
            id, api_key_id, prompt, negative_prompt, model, width, height, steps, guidance, seed,
            output_format, quality, keep_metadata, labels, is_deleted)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, false) RETURNING {COLUMNS}
    )
    SELECT generation.*, procrastinate_defer_jobs_v1(ARRAY[ROW('{contract.RENDER_QUEUE}', '{contract.RENDER_TASK}', 0,
        NULL, id::text, jsonb_build_object('generation_id', id), NULL)::procrastinate_job_to_defer_v1])
    FROM generation
"""
OWN = f"SELECT {COLUMNS} FROM generations_generation WHERE api_key_id = $1 AND NOT is_deleted"
NEWEST_FIRST = "ORDER BY id DESC LIMIT"

as_generation = TypeAdapter(contract.GenerationIn).validate_json


class Row(asyncpg.Record):
    """Columns as attributes."""

    def __getattr__(self, name: str):
        return self[name]


class Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        return ""  # no statement changes the session


class Refused(Exception):
    def __init__(self, status: int, headers: dict[str, str] | None = None):
        self.status, self.headers = status, headers


@asynccontextmanager
async def lifespan(app: Starlette):
    connections = {"min_size": contract.CONNECTIONS, "max_size": contract.CONNECTIONS}
    async with asyncpg.create_pool(
        **contract.DATABASE, **connections, connection_class=Connection, record_class=Row, init=_read_json
    ) as app.state.pool:
        yield


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )


async def authenticate(connection: asyncpg.Connection, request: Request) -> tuple[UUID, dict[str, str]]:
    """The key's id and the headers of its limit."""
    key_hash = contract.digest(request.headers.get("authorization"))
    key = key_hash and await connection.fetchrow(AUTHENTICATE, key_hash)
    if not key:
        raise Refused(401, {"WWW-Authenticate": "Bearer"})
    headers = contract.limit_headers(key.rate_limit, key.spent) if key.rate_limit else {}
    if key.is_admitted is False:
        raise Refused(429, {**headers, "Retry-After": contract.retry_after(key.rate_limit, key.spent)})
    if key.is_noted_late:
        await connection.execute(NOTE, key.id)
    return key.id, headers


async def generations(request: Request) -> Response:
    return await (create if request.method == "POST" else list_)(request)


async def create(request: Request) -> Response:
    body = await request.body()
    async with request.app.state.pool.acquire() as connection:
        key_id, headers = await authenticate(connection, request)
        try:
            parsed = as_generation(body)
        except ValidationError:
            raise Refused(422, headers) from None
        values = [getattr(parsed, name) for name in contract.GenerationIn.model_fields]
        row = await connection.fetchrow(CREATE, contract.uuid7(), key_id, *values)
    headers["Location"] = f"{base(request)}/api/v1/generations/{row.id}"
    return as_json(contract.represent(row, key_id, base(request)), 201, headers)


async def list_(request: Request) -> Response:
    query = request.query_params
    limit = query.get("limit", "20")
    async with request.app.state.pool.acquire() as connection:
        key_id, headers = await authenticate(connection, request)
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= 100):
            raise Refused(422, headers)
        statement, values = OWN, [key_id]
        try:
            if "cursor" in query:
                values.append(contract.decode_cursor(query["cursor"]))
                statement += f" AND id < ${len(values)}"
            if "status" in query:
                values.append(contract.STATUSES.index(query["status"]))
                statement += f" AND status = ${len(values)}"
        except ValueError:
            raise Refused(422, headers) from None
        rows = await connection.fetch(f"{statement} {NEWEST_FIRST} {int(limit) + 1}", *values)
    items = [contract.represent(row, key_id, base(request)) for row in rows[: int(limit)]]
    more = len(rows) > int(limit)
    return as_json({"items": items, "next_cursor": contract.encode_cursor(rows[-2].id) if more else None}, 200, headers)


async def show(request: Request) -> Response:
    async with request.app.state.pool.acquire() as connection:
        key_id, headers = await authenticate(connection, request)
        try:
            row = await connection.fetchrow(f"{OWN} AND id = $2", key_id, UUID(request.path_params["id"]))
        except ValueError:
            row = None
    if row is None:
        raise Refused(404, headers)
    return as_json(contract.represent(row, key_id, base(request)), 200, headers)


async def refused(request: Request, error: Refused) -> Response:
    return as_json({"status": error.status}, error.status, error.headers)


def as_json(content: dict, status: int, headers: dict[str, str] | None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def base(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


app = Starlette(
    routes=[
        Route("/api/v1/generations", generations, methods=["GET", "POST"]),
        Route("/api/v1/generations/{id}", show),
    ],
    exception_handlers={Refused: refused},
    lifespan=lifespan,
)
