"""Two keys share two workers. `started_at` in the database shows the order of service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lockngen.tests.support.oracle import assert_ended_once
from lockngen.tests.support.processes import WORKER
from lockngen.tests.support.stack import Client, Program, Stack
from lockngen.tests.support.waiting import wait_until

BACKLOG, POSTERS = 2000, 4
WORKERS, CONCURRENCY = 2, 2
STARTED = """
    SELECT key.name FROM generations_generation generation JOIN apikeys_apikey key ON key.id = generation.api_key_id
    WHERE started_at IS NOT NULL ORDER BY started_at
"""
# How many others were started while this one waited, and nothing while it still does.
OVERTAKEN = """
    SELECT CASE WHEN mine.started_at IS NOT NULL THEN (
        SELECT count(*) FROM generations_generation other
        WHERE other.started_at > mine.created_at AND other.started_at < mine.started_at) END
    FROM generations_generation mine WHERE mine.id = %s
"""
CANCEL = "UPDATE generations_generation SET status = 4, completed_at = now() WHERE status < 2"
PENDING = """
    SELECT count(*) FROM generations_generation generation JOIN apikeys_apikey key ON key.id = generation.api_key_id
    WHERE key.name = %s AND status = 0
"""


@pytest.fixture
def run_quick_workers(stack) -> Iterator[Callable]:
    """Instead of the stack's own."""
    quick: list[Program] = []
    variables = {"RENDERER_URL": "sketch:?seconds=0.1", "WORKER_CONCURRENCY": str(CONCURRENCY)}
    stack.worker.park()
    yield lambda: quick.extend(stack.run_workers(WORKERS, "quick", WORKER, **variables))
    stack.cluster.rows(CANCEL)
    stack.cluster.rows("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
    stack.close_workers(quick)
    stack.worker.resume()


@pytest.mark.faults
def test_keys__share_the_workers_however_many_prompts_each_has_waiting(stack, run_quick_workers):
    long, other = stack.make_token("Long"), stack.make_token("Other")
    post(stack, long, BACKLOG + 100)
    run_quick_workers()
    wait_until(lambda: count_started(stack) >= 50, 20)

    with Client(stack, token=other) as client:
        single = client.create("a single one").json["id"]
    assert pending(stack, "Long") >= BACKLOG
    wait_until(lambda: stack.cluster.value(OVERTAKEN, single) is not None, 20)
    assert stack.cluster.value(OVERTAKEN, single) <= WORKERS * CONCURRENCY

    before = count_started(stack)
    with posting_without_pause(stack, other):
        wait_until(lambda: count_started(stack) >= before + 400, 120)
        assert pending(stack, "Other") > POSTERS  # it always had some waiting
    served = [name for (name,) in stack.cluster.rows(STARTED)[before : before + 400]]
    assert 0.4 <= served.count("Long") / len(served) <= 0.6
    assert_ended_once(stack)


def count_started(stack: Stack) -> int:
    return len(stack.cluster.rows(STARTED))


def pending(stack: Stack, name: str) -> int:
    return stack.cluster.value(PENDING, name)


def post(stack: Stack, token: str, count: int) -> None:
    with ThreadPoolExecutor(POSTERS) as threads:
        for _ in range(POSTERS):
            threads.submit(post_some, stack, token, count // POSTERS)


def post_some(stack: Stack, token: str, count: int) -> None:
    with Client(stack, token=token) as client:
        for number in range(count):
            client.create(f"one of many {number}")


@contextmanager
def posting_without_pause(stack: Stack, token: str) -> Iterator[None]:
    over = threading.Event()

    def post_on() -> None:
        with Client(stack, token=token) as client:
            while not over.is_set():
                client.create("one more")

    threads = [threading.Thread(target=post_on) for _ in range(POSTERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
