"""The database of a benchmark, its keys and rows, and the processor time of its server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex, token_urlsafe
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psutil

BASE = Path(__file__).resolve().parent.parent
UNREACHED = 2**31 - 1  # the largest rate limit: every call is counted, none is refused
FIRST_ROW_AT = 1_767_225_600_000  # milliseconds; a later row is a millisecond younger, and all are older than new ones
IMAGE = "generations/benchmark.png"
THUMBNAIL = "generations/benchmark.thumb.webp"
DROP_INDEXES_FROM = 500_000  # rows; creating the indexes afterwards is faster than maintaining them

# Nine in ten are completed, the others failed or cancelled. Consecutive rows belong to different keys.
FILL = """
    INSERT INTO generations_generation (
        id, api_key_id, prompt, status, created_at, started_at, completed_at, attempts, error_message, seed,
        image_path, thumbnail_path, image_width, image_height, image_bytes, image_type, image_sha256)
    SELECT (lpad(to_hex(milliseconds), 12, '0') || '70008' || substr(md5(number::text), 1, 15))::uuid,
        (%(keys)s::uuid[])[1 + number %% %(key_count)s], 'a ' || word || ' at dusk, study ' || number %% 1000,
        status, at, at, at, 1, CASE WHEN status = 3 THEN 'The renderer refused it.' END, number,
        CASE WHEN status = 2 THEN %(image)s END, CASE WHEN status = 2 THEN %(thumbnail)s END,
        CASE WHEN status = 2 THEN 512 END, CASE WHEN status = 2 THEN 512 END,
        CASE WHEN status = 2 THEN %(bytes)s END, CASE WHEN status = 2 THEN 'image/png' END,
        CASE WHEN status = 2 THEN %(sha256)s END
    FROM generate_series(%(first)s, %(last)s) number,
    LATERAL (SELECT %(first_row_at)s + number AS milliseconds,
        (ARRAY['lighthouse', 'fox', 'harbour', 'forest', 'violin', 'glacier', 'market'])[1 + number %% 7] AS word,
        CASE (number / %(key_count)s) %% 20 WHEN 0 THEN 3 WHEN 1 THEN 4 ELSE 2 END AS status) AS facts,
    LATERAL (SELECT to_timestamp(milliseconds / 1000.0) AS at) AS time
"""


@contextmanager
def database(folder: Path, url: str = "") -> Iterator[None]:
    """A new database with all migrations: on the server of `url`, or else on an embedded PostgreSQL in the folder.

    What is measured runs with DEBUG off, as in production.
    """
    folder.chmod(0o755)  # as root, the embedded server runs as another user
    os.environ.update(DEBUG="on", DATABASE_URL="", LOCKNGEN_DATA=str(folder / "data"), AUTO_MIGRATE="off")
    from lockngen import environment

    with _created_on(url) if url else environment.development_database():
        os.environ.update(DEBUG="off", SECRET_KEY=token_urlsafe(50), DJANGO_SETTINGS_MODULE="lockngen.settings")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield


@contextmanager
def _created_on(url: str) -> Iterator[None]:
    import psycopg

    name = f"lockngen_benchmark_{token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            os.environ.update(DATABASE_URL=urlunsplit(urlsplit(url)._replace(path=f"/{name}")), DATABASE_DIRECT_URL="")
            yield
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_keys(count: int, rate_limit: int = UNREACHED) -> dict[UUID, str]:
    """Tokens of new keys by the keys' ids."""
    from apikeys.models import ApiKey

    issued = [ApiKey.objects.issue(name=f"Benchmark {number}", rate_limit=rate_limit) for number in range(count)]
    return {key.pk: token for key, token in issued}


def fill(keys: list[UUID], rows: int, image: bytes = b"") -> None:
    """Insert finished generations, all with the same image, and vacuum."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from django.db import connection

    for path in (IMAGE, THUMBNAIL):
        if not default_storage.exists(path):
            default_storage.save(path, ContentFile(image))
    values = {
        "keys": keys,
        "key_count": len(keys),
        "first_row_at": FIRST_ROW_AT,
        "image": IMAGE,
        "thumbnail": THUMBNAIL,
        "bytes": len(image) or 1,
        "sha256": hashlib.sha256(image).hexdigest(),
    }
    with connection.without_statement_timeout(), connection.cursor() as cursor:
        with _without_indexes(cursor, rows >= DROP_INDEXES_FROM):
            for first in range(0, rows, DROP_INDEXES_FROM):
                last = min(first + DROP_INDEXES_FROM, rows) - 1
                cursor.execute(FILL, {**values, "first": first, "last": last})
        _tidy(cursor)


@contextmanager
def _without_indexes(cursor, are_dropped: bool) -> Iterator[None]:
    """Create the table's indexes again afterwards, but for those of constraints, which stay."""
    definitions = []
    if are_dropped:
        cursor.execute("""
            SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
            WHERE indrelid = 'generations_generation'::regclass AND NOT indisunique
        """)
        definitions = cursor.fetchall()
    for name, _ in definitions:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for _, definition in definitions:
        cursor.execute(definition)


def row_id(number: int) -> UUID:
    """The id of a row that `fill` has inserted. Its key is the one at `number` modulo their count."""
    return UUID(f"{FIRST_ROW_AT + number:012x}70008{hashlib.md5(str(number).encode()).hexdigest()[:15]}")


def remove_new_rows(rows: int) -> None:
    """Remove the generations that were created since the table was filled with so many rows, and all jobs."""
    from django.db import connection

    with connection.without_statement_timeout(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM generations_generation WHERE id >= %s", [UUID(int=(FIRST_ROW_AT + rows) << 80)])
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
        _tidy(cursor)


def _tidy(cursor) -> None:
    cursor.execute("VACUUM (ANALYZE) generations_generation")
    cursor.execute("CHECKPOINT")


def postmaster() -> psutil.Process | None:
    """PostgreSQL's main process, or None if the server is on another machine."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        backend = psutil.Process(pid)
        return backend.parent() if "postgres" in backend.name() else None
    except psutil.NoSuchProcess:
        return None
