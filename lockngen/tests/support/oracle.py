"""The invariants after every fault, checked in the clients' log, the database and the image folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from PIL import Image

from generations.images.files import FOLDER
from lockngen.storage.filesystem import PARTIAL
from lockngen.tests.support.load import Load
from lockngen.tests.support.stack import Stack
from lockngen.tests.support.waiting import wait_until

UNFINISHED = "SELECT count(*) FROM generations_generation WHERE status < 2"
LIVE_JOBS = "SELECT count(*) FROM procrastinate_jobs WHERE status < 'succeeded' AND task_name = 'generations.render'"
# The files that rows name, in any column that ends in _path.
PATHS = """
    SELECT path.value FROM generations_generation row, jsonb_each_text(to_jsonb(row)) path
    WHERE path.key LIKE '%%\\_path' AND path.value IS NOT NULL
"""
STORED = "SELECT prompt FROM generations_generation WHERE prompt = ANY(%s)"


def assert_all_is_well(stack: Stack, load: Load, drained_within: float) -> None:
    assert_answers_are_expected(load)
    wait_until_finished(stack, drained_within)
    assert_stored_once(stack, load)
    assert_ended_once(stack)
    assert_rendered(stack, [attempt.answer.json["id"] for attempt in load.posts("ok")])


def assert_answers_are_expected(load: Load) -> None:
    unexpected = [attempt for attempt in load.attempts if not is_expected(attempt.answer)]
    assert unexpected == [], f"{len(unexpected)} of {len(load.attempts)}: {unexpected[:5]}"


def is_expected(answer) -> bool:
    """2xx, or 503 with Retry-After."""
    return answer.outcome == "ok" or (answer.status == 503 and (answer.retry_after or "").isdigit())


def assert_stored_once(stack: Stack, load: Load) -> None:
    """Accepted requests are stored once, rejected ones not at all, and those without a response at most once."""
    prompts = [attempt.prompt for attempt in load.attempts if attempt.prompt]
    rows = Counter(prompt for (prompt,) in stack.cluster.rows(STORED, prompts))
    expected = {"ok": {1}, "failed": {0}, "unknown": {0, 1}}
    for outcome, counts in expected.items():
        wrong = [attempt for attempt in load.posts(outcome) if rows[attempt.prompt] not in counts]
        assert wrong == [], outcome


def assert_ended_once(stack: Stack, ids: Iterable[str] = ()) -> None:
    """No generation ended twice, and each of `ids` ended."""
    ends = Counter(id for (id,) in stack.cluster.rows("SELECT generation::text FROM ends"))
    assert [id for id, count in ends.items() if count > 1] == []
    assert [id for id in ids if id not in ends] == []


def assert_rendered(stack: Stack, ids: Collection[str]) -> dict[str, Path]:
    """Each is completed, and the files are those of rows; returns the paths of the images."""
    statement = "SELECT id::text, status, image_path FROM generations_generation WHERE id = ANY(%s::uuid[])"
    rows = stack.cluster.rows(statement, list(ids))
    assert [row for row in rows if row[1] != 2] == []
    assert len(rows) == len(ids)
    assert_files_are_those_of_rows(stack)
    return {id: stack.images / path for id, _, path in rows}


def assert_files_are_those_of_rows(stack: Stack) -> None:
    """No file is missing or left over, except partly written files, which are removed later."""
    files = [path for path in (stack.images / FOLDER).rglob("*") if path.is_file() and PARTIAL not in path.name]
    expected = [stack.images / path for (path,) in stack.cluster.rows(PATHS)]
    assert sorted(files) == sorted(expected)


def assert_images(stack: Stack, prompts: dict[str, str]) -> None:
    """Each is rendered, and its image is a whole one of its own prompt."""
    for id, path in assert_rendered(stack, prompts).items():
        with Image.open(path) as image:
            image.load()
            assert (id, image.text["prompt"]) == (id, prompts[id])


def assert_no_job_is_left(stack: Stack) -> None:
    """No render job is left. It ends a moment after its generation."""
    statement = (
        "SELECT count(*) FROM procrastinate_jobs WHERE status < 'succeeded' AND task_name = 'generations.render'"
    )
    wait_until(lambda: stack.cluster.value(statement) == 0, 10, lambda: describe(stack))


def wait_until_finished(stack: Stack, seconds: float) -> None:
    wait_until(lambda: stack.cluster.value(UNFINISHED) == 0, seconds, lambda: describe(stack))


def describe(stack: Stack) -> str:
    """The unfinished generations with their jobs, and the end of the worker's output."""
    unfinished = stack.cluster.rows("""
        SELECT generation.id, generation.status, generation.attempts,
               job.status, job.scheduled_at, worker.last_heartbeat
        FROM generations_generation generation
        LEFT JOIN procrastinate_jobs job ON job.queueing_lock = generation.id::text
        LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
        WHERE generation.status < 2 ORDER BY generation.id LIMIT 10
    """)
    return "\n".join(map(str, [*unfinished, stack.worker.output()[-4000:]]))
