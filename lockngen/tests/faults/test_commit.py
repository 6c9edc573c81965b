"""A backend is killed while it stores a generation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lockngen.tests.support.oracle import is_expected
from lockngen.tests.support.stack import Answer
from lockngen.tests.support.waiting import wait_until

COUNTS = """
    SELECT count(DISTINCT generation.id), count(job.id)
    FROM generations_generation generation LEFT JOIN procrastinate_jobs job ON job.queueing_lock = generation.id::text
    WHERE generation.prompt = %s
"""
STORING = """
    SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE wait_event = 'SyncRep' AND relation = 'generations_generation'::regclass
"""
KILL = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'lockngen' AND "


@pytest.fixture
def post(client) -> Iterator:
    with ThreadPoolExecutor(1) as thread:
        yield lambda prompt: thread.submit(client.create, prompt)


def test_backend__killed_in_mid_transaction_leaves_one_whole_generation(stack, post):
    with stack.cluster.connect() as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE")  # after its row it stores its job
            answer = post("mid-transaction")
            kill_one(stack, "wait_event_type = 'Lock' AND query LIKE '%%INSERT INTO generations_generation%%'")
        assert answer.result().status == 201

    assert stack.cluster.rows(COUNTS, "mid-transaction") == [(1, 1)]


def test_backend__killed_after_its_commit_was_stored_but_before_it_could_show(stack, post):
    wait_until_idle(stack, post)
    with without_standby(stack):
        answer = post("lost commit")
        kill_until_answered(stack, answer, "wait_event = 'SyncRep'")

    assert answer.result().status == 201
    assert stack.cluster.rows(COUNTS, "lost commit") == [(1, 1)]


@pytest.mark.faults
def test_server__gone_in_commit_for_long_leaves_the_client_in_doubt(stack, post):
    wait_until_idle(stack, post)
    with without_standby(stack):
        answer = post("in doubt")
        wait_until(lambda: stack.cluster.value(STORING), 5)
        stack.cluster.stop("immediate")
        response = answer.result()
        stack.cluster.start()

    assert (response.outcome, is_expected(response)) == ("unknown", True), response
    assert stack.cluster.rows(COUNTS, "in doubt") == [(1, 1)]


def wait_until_idle(stack, post) -> None:
    """Wait for the end of other COMMITs: the record of the key's use, its first share, and what workers store."""
    post("before").result()
    wait_until(
        lambda: stack.cluster.value("SELECT count(*) FROM procrastinate_jobs WHERE status < 'succeeded'") == 0, 20
    )


@contextmanager
def without_standby(stack) -> Iterator[None]:
    """Each COMMIT is stored and then waits for a standby, which does not exist, before it is answered."""
    set_standby(stack, "missing")
    try:
        yield
    finally:
        set_standby(stack, "")


def set_standby(stack, name: str) -> None:
    with stack.cluster.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: stack.cluster.value("SHOW synchronous_standby_names") == name, 5)


def kill_one(stack, which: str) -> None:
    wait_until(lambda: stack.cluster.value(KILL + which), 5)


def kill_until_answered(stack, answer: Future[Answer], which: str) -> None:
    """The web repeats the transaction after each loss."""
    killed = 0
    while not answer.done():
        killed += stack.cluster.value(KILL + which)
    assert killed
