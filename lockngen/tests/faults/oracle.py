"""What must hold after every fault, asked of the clients' log, the database and the folder of images."""

from __future__ import annotations

from collections import Counter

from lockngen.tests.faults.load import Load
from lockngen.tests.faults.stack import Stack, wait_until

UNFINISHED = "SELECT count(*) FROM generations_generation WHERE status < 2"
STORED = "SELECT prompt FROM generations_generation WHERE prompt = ANY(%s)"


def assert_all_is_well(stack: Stack, load: Load, drained_within: float) -> float:
    """Everything; returns how many seconds it took until nothing was left to render."""
    assert_answers_are_fair(load)
    seconds = wait_until(lambda: stack.cluster.value(UNFINISHED) == 0, drained_within, lambda: describe(stack))
    assert_stored_once(stack, load)
    assert_ended_once(stack)
    assert_rendered(stack, [attempt.answer.json["id"] for attempt in load.posts("ok")])
    return seconds


def assert_answers_are_fair(load: Load) -> None:
    """2xx, or 503 that says when to come again."""
    unfair = [attempt for attempt in load.attempts if not is_fair(attempt.answer)]
    assert unfair == [], f"{len(unfair)} of {len(load.attempts)}"


def is_fair(answer) -> bool:
    return answer.outcome == "ok" or (answer.status == 503 and (answer.retry_after or "").isdigit())


def assert_stored_once(stack: Stack, load: Load) -> None:
    """What was promised is there once, what was refused is not, and what nobody knows is there once at most."""
    prompts = [attempt.prompt for attempt in load.attempts if attempt.prompt]
    rows = Counter(prompt for (prompt,) in stack.cluster.rows(STORED, prompts))
    expected = {"ok": {1}, "failed": {0}, "unknown": {0, 1}}
    for outcome, counts in expected.items():
        wrong = [attempt for attempt in load.posts(outcome) if rows[attempt.prompt] not in counts]
        assert wrong == [], outcome


def assert_ended_once(stack: Stack) -> None:
    twice = stack.cluster.rows("SELECT generation FROM ends GROUP BY generation HAVING count(*) > 1")
    assert twice == []


def assert_rendered(stack: Stack, ids: list[str]) -> None:
    """Each is completed, and its image and its thumbnail are all there is of it: no attempt left anything else."""
    statement = """
        SELECT id::text, status, image_path, thumbnail_path FROM generations_generation WHERE id = ANY(%s::uuid[])
    """
    rows = stack.cluster.rows(statement, ids)
    assert [row for row in rows if row[1] != 2] == []
    assert len(rows) == len(ids)
    folder = stack.data / "images"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.name[:36] in set(ids))
    assert files == sorted(path for row in rows for path in row[2:])


def describe(stack: Stack) -> str:
    """What isn't finished, with its jobs, and the last words of the worker."""
    stuck = stack.cluster.rows("""
        SELECT stuck.id, stuck.status, stuck.attempts, job.status, job.scheduled_at, worker.last_heartbeat
        FROM generations_generation stuck LEFT JOIN procrastinate_jobs job ON job.queueing_lock = stuck.id::text
        LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
        WHERE stuck.status < 2 ORDER BY stuck.id LIMIT 10
    """)
    return "\n".join(map(str, [*stuck, stack.worker.words()]))
