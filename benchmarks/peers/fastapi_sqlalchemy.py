"""FastAPI, SQLAlchemy's asynchronous ORM and asyncpg, as their documentation writes an application."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import CHAR, BigInteger, DateTime, ForeignKey, String, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers import contract

engine = create_async_engine(
    "postgresql+asyncpg://", connect_args=contract.DATABASE, pool_size=contract.CONNECTIONS, max_overflow=0
)
new_session = async_sessionmaker(engine, expire_on_commit=False)

TAKE = text(
    contract.TAKE.format(
        new=f"VALUES (:key_id, {contract.COST}, true, clock_timestamp())",
        rate="CAST(:rate AS bigint)",
        cost=contract.COST,
    )
)
ENQUEUE = text(f"""
    SELECT procrastinate_defer_jobs_v1(ARRAY[
        ROW('{contract.RENDER_QUEUE}', '{contract.RENDER_TASK}', 0, NULL, CAST(:id AS text),
            jsonb_build_object('generation_id', CAST(:id AS text)), NULL)::procrastinate_job_to_defer_v1])
""")


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}


class ApiKey(Base):
    __tablename__ = "apikeys_apikey"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(CHAR(64))
    rate_limit: Mapped[int]
    is_active: Mapped[bool]
    is_deleted: Mapped[bool]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Generation(Base):
    __tablename__ = "generations_generation"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=contract.uuid7)
    api_key_id: Mapped[UUID] = mapped_column(ForeignKey(ApiKey.id))
    prompt: Mapped[str] = mapped_column(String(2000))
    negative_prompt: Mapped[str] = mapped_column(String(2000))
    model: Mapped[str] = mapped_column(String(100))
    width: Mapped[int]
    height: Mapped[int]
    steps: Mapped[int]
    guidance: Mapped[float]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    output_format: Mapped[str | None] = mapped_column(String(4))
    quality: Mapped[int | None]
    keep_metadata: Mapped[bool | None]
    labels: Mapped[dict] = mapped_column(JSONB)
    status: Mapped[int] = mapped_column(default=0)
    image_path: Mapped[str | None] = mapped_column(String(500))
    image_width: Mapped[int | None]
    image_height: Mapped[int | None]
    image_bytes: Mapped[int | None]
    image_type: Mapped[str | None] = mapped_column(String(50))
    image_sha256: Mapped[str | None] = mapped_column(CHAR(64))
    error_message: Mapped[str | None] = mapped_column(String(1000))
    is_deleted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class SignedUrls(BaseModel):
    image: str | None
    thumbnail: str | None
    events: str
    expires_at: str


class ImageOut(BaseModel):
    width: int
    height: int
    bytes: int
    type: str
    sha256: str


class GenerationOut(BaseModel):
    id: UUID
    status: contract.StatusName
    progress: int
    prompt: str
    negative_prompt: str
    model: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int | None
    output_format: str | None
    quality: int | None
    keep_metadata: bool | None
    labels: dict[str, str]
    image_url: str | None
    thumbnail_url: str | None
    signed_urls: SignedUrls
    image: ImageOut | None
    error: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None


class GenerationPage(BaseModel):
    items: list[GenerationOut]
    next_cursor: str | None


class ListQuery(BaseModel):
    status: contract.StatusName | None = None
    limit: Annotated[int, Query(ge=1, le=100)] = 20
    cursor: Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]{22}$")] = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    yield
    await engine.dispose()


async def get_session():
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


async def authenticate(
    session: Session, response: Response, authorization: Annotated[str | None, Header()] = None
) -> ApiKey:
    now = datetime.now(UTC)
    key_hash = contract.digest(authorization)
    key = key_hash and await session.scalar(
        select(ApiKey).where(
            ApiKey.key_hash == key_hash, ApiKey.is_active, ~ApiKey.is_deleted, ApiKey.revoked_at.is_(None)
        )
    )
    if not key or (key.expires_at and key.expires_at <= now):
        raise HTTPException(401, "The key is not valid.", {"WWW-Authenticate": "Bearer"})
    if key.rate_limit:
        taken = (await session.execute(TAKE, {"key_id": key.id, "rate": key.rate_limit})).one()
        headers = contract.limit_headers(key.rate_limit, taken.spent)
        if not taken.is_admitted:
            headers["Retry-After"] = contract.retry_after(key.rate_limit, taken.spent)
            raise HTTPException(429, "The limit is used up.", headers)
        response.headers.update(headers)
    if key.last_used_at is None or key.last_used_at < now - timedelta(minutes=1):
        await session.execute(update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=func.now()))
    await session.commit()  # the bucket's row must not stay locked until the generation is on disk
    return key


Key = Annotated[ApiKey, Depends(authenticate)]
app = FastAPI(lifespan=lifespan)


@app.post("/api/v1/generations", status_code=201)
async def create(
    body: contract.GenerationIn, request: Request, response: Response, session: Session, key: Key
) -> GenerationOut:
    generation = Generation(api_key_id=key.id, **body.model_dump())
    session.add(generation)
    await session.flush()
    await session.execute(ENQUEUE, {"id": str(generation.id)})
    await session.commit()
    response.headers["Location"] = f"{base(request)}/api/v1/generations/{generation.id}"
    return contract.represent(generation, key.id, base(request))


@app.get("/api/v1/generations")
async def list_(query: Annotated[ListQuery, Query()], request: Request, session: Session, key: Key) -> GenerationPage:
    generations = select(Generation).where(Generation.api_key_id == key.id, ~Generation.is_deleted)
    if query.status:
        generations = generations.where(Generation.status == contract.STATUSES.index(query.status))
    if query.cursor:
        generations = generations.where(Generation.id < contract.decode_cursor(query.cursor))
    rows = (await session.scalars(generations.order_by(Generation.id.desc()).limit(query.limit + 1))).all()
    items = [contract.represent(row, key.id, base(request)) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    return {"items": items, "next_cursor": contract.encode_cursor(rows[query.limit - 1].id) if more else None}


@app.get("/api/v1/generations/{id}")
async def show(id: UUID, request: Request, session: Session, key: Key) -> GenerationOut:
    generation = await session.scalar(
        select(Generation).where(Generation.id == id, Generation.api_key_id == key.id, ~Generation.is_deleted)
    )
    if generation is None:
        raise HTTPException(404, "There is no such generation.")
    return contract.represent(generation, key.id, base(request))


def base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
