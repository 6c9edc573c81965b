"""The database becomes unavailable and available again, while clients post and read without pause."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from lockngen.tests.support.dev import URL
from lockngen.tests.support.load import Load
from lockngen.tests.support.oracle import assert_all_is_well
from lockngen.tests.support.stack import Client, Stack
from lockngen.tests.support.waiting import wait_until

LISTENING = 1  # seconds; a worker that only polls takes up to five


def short(*values):
    return pytest.param(*values, id="short")


def long(*values):
    return pytest.param(*values, id="long", marks=pytest.mark.faults)


@pytest.mark.parametrize(
    ("clients", "rounds", "every", "frozen", "down"), [short(6, 3, 0.5, 2, 3), long(16, 10, 2, 10, 45)]
)
def test_load__survives_every_kind_of_outage(stack, clients, rounds, every, frozen, down):
    with Load(stack, clients) as load:
        wait_until(lambda: load.posts("ok"), 10)

        back_at = stack.cluster.restart("immediate")
        assert load.wait_for_success(back_at, 2) < 2

        for _ in range(rounds):
            stack.cluster.terminate_backends()
            time.sleep(every)
        assert load.wait_for_success(time.monotonic(), 2) < 2

        with stack.cluster.frozen():
            time.sleep(frozen)
        assert load.wait_for_success(time.monotonic(), 5) < 5

        back_at = stack.cluster.restart("fast", seconds_down=down)
        assert load.wait_for_success(back_at, 5) < 5

    assert_all_is_well(stack, load, drained_within=20)
    assert_worker_listens(stack)


@pytest.mark.faults
@pytest.mark.parametrize(("mode", "down"), [("fast", 0), ("fast", 8), ("immediate", 8)])
def test_load__survives_a_restart(stack, mode, down):
    with Load(stack, 16) as load:
        wait_until(lambda: load.posts("ok"), 10)

        back_at = stack.cluster.restart(mode, seconds_down=down)

        assert load.wait_for_success(back_at, 2) < 2

    assert_all_is_well(stack, load, drained_within=20)
    assert_worker_listens(stack)


def assert_worker_listens(stack: Stack) -> None:
    """Several prompts in a row start at once: by polling alone that happens once in a thousand times."""
    with Client(stack) as client:
        waits = [seconds_to_start(client) for _ in range(4)]
    assert max(waits) < LISTENING, waits


def seconds_to_start(client: Client) -> float:
    id = client.create("a lighthouse at noon").json["id"]
    wait_until(lambda: client.get(f"{URL}/{id}").json["status"] == "completed", 20)
    generation = client.get(f"{URL}/{id}").json
    created, started = (datetime.fromisoformat(generation[name]) for name in ("created_at", "started_at"))
    return (started - created).total_seconds()


@pytest.mark.faults
def test_requests__fail_at_once_while_the_database_is_down(stack):
    calls: list[tuple[float, float, int]] = []  # began at, seconds, status

    def call() -> int:
        began_at = time.monotonic()
        with Client(stack) as client:
            status = client.get(URL).status
        calls.append((began_at, time.monotonic() - began_at, status))
        return status

    assert call() == 200
    stack.cluster.stop("immediate")
    down_at = time.monotonic()
    while time.monotonic() - down_at < 12:
        call()
        time.sleep(0.05)
    stack.cluster.start()
    back_at = time.monotonic()
    wait_until(lambda: call() == 200, 5)

    assert time.monotonic() - back_at < 1.5
    first, *later = [(began_at - down_at + seconds, seconds) for began_at, seconds, status in calls if status == 503]
    assert first[0] < 6.5
    assert len(later) > 50
    assert sorted(seconds for _, seconds in later)[len(later) * 95 // 100] < 0.1
