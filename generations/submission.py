"""The statement that stores generations together with their jobs."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from generations.scheduling.queues import RENDER_TASK

# Parameters that a client chooses.
PARAMETERS = ("prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed")
ARRAYS = {
    "id": "uuid",
    "api_key_id": "uuid",
    "prompt": "text",
    "negative_prompt": "text",
    "model": "text",
    "width": "int",
    "height": "int",
    "steps": "int",
    "guidance": "float8",
    "seed": "int8",
}
COLUMNS = ", ".join(ARRAYS)
GIVEN = ", ".join(f"%({name})s::{type}[]" for name, type in ARRAYS.items())
# The queueing lock limits a generation to one waiting job. procrastinate's function is called in the main SELECT, as a
# SELECT in a CTE that nothing refers to never runs.
INSERT = f"""
    WITH given AS (
        SELECT * FROM unnest({GIVEN}, %(queue)s::text[], %(priority)s::int[])
        WITH ORDINALITY AS given ({COLUMNS}, queue, priority, number)
    ), stored AS (
        INSERT INTO generations_generation ({COLUMNS}) SELECT {COLUMNS} FROM given ORDER BY number RETURNING created_at
    )
    SELECT (SELECT created_at FROM stored LIMIT 1), procrastinate_defer_jobs_v1(array_agg(
        ROW(queue, '{RENDER_TASK}', priority, NULL, id::text, jsonb_build_object('generation_id', id), NULL)
        ::procrastinate_job_to_defer_v1 ORDER BY number))
    FROM given
"""  # noqa: S608  contains no user input


def insert(generations: Sequence, priorities: Sequence[int]) -> datetime:
    """Insert pending generations and their jobs by one statement. Returns when they were created."""
    parameters = {name: [getattr(generation, name) for generation in generations] for name in ARRAYS}
    parameters |= {"queue": [generation.queue for generation in generations], "priority": list(priorities)}
    with connection.prepared_cursor() as cursor:
        cursor.execute(INSERT, parameters)
        return cursor.fetchone()[0]
