"""Workers are killed, frozen, stopped and cut off from their database in mid-render."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lockngen.tests.faults.conftest import FAST
from lockngen.tests.support.dev import URL
from lockngen.tests.support.oracle import assert_ended_once, assert_rendered
from lockngen.tests.support.stack import POLLING, Client, Program, Stack, let_leases_end, rescue
from lockngen.tests.support.waiting import wait_until

RENDERER_URL = "sketch:?seconds=1.5"


@pytest.fixture
def worker(stack) -> Iterator[Program]:
    """The stack's worker, with this module's slow renderer."""
    yield stack.worker
    stack.worker.resume()


@pytest.fixture
def run_fast_worker(stack):
    started: list[Program] = []
    yield lambda: started.append(stack.run_worker("fast", *POLLING, RENDERER_URL=FAST))
    stack.close_workers(started)


@pytest.mark.parametrize("down", [pytest.param(1, id="short"), pytest.param(45, id="long", marks=pytest.mark.faults)])
def test_worker__that_lost_its_database_stores_what_it_rendered_meanwhile(stack, client, worker, down):
    ids = [begin(client), begin(client)]
    exits = len(worker.exit_codes)

    stack.cluster.restart("immediate", seconds_down=down)

    for id in ids:
        wait_for(client, id, "completed")
        assert attempts(stack, id) == 1
    wait_for(client, client.create("the next").json["id"], "processing", seconds=5)  # it didn't leave to start anew
    assert len(worker.exit_codes) == exits
    assert_rendered(stack, ids)
    assert_ended_once(stack)


def test_worker__stopped_finishes_what_it_can_within_its_grace(stack, client, worker):
    id = begin(client)

    assert worker.park(signal.SIGTERM, seconds=8) == 0

    assert client.get(f"{URL}/{id}").json["status"] == "completed"
    assert attempts(stack, id) == 1
    assert_ended_once(stack)


def test_worker__that_was_considered_dead_changes_nothing_when_it_continues(stack, client, worker, run_fast_worker):
    id = begin(client)
    worker.send_signal(signal.SIGSTOP)
    let_leases_end(stack)
    run_fast_worker()
    rescue(stack)
    wait_for(client, id, "completed")
    image = assert_rendered(stack, [id])[id]
    stored = image.stat()

    worker.send_signal(signal.SIGCONT)

    wait_until(lambda: f"Generation {id}: attempt 1 is superseded" in worker.output(), 10, worker.output)
    assert attempts(stack, id) == 2
    assert (image.stat().st_ino, image.stat().st_mtime_ns) == (stored.st_ino, stored.st_mtime_ns)
    assert_rendered(stack, [id])
    assert_ended_once(stack)


@pytest.mark.faults
def test_worker__whose_row_was_deleted_while_it_was_frozen_works_on(stack, client, worker):
    wait_for(client, begin(client), "completed")
    exits = len(worker.exit_codes)
    worker.send_signal(signal.SIGSTOP)
    stack.cluster.rows("DELETE FROM procrastinate_workers")  # as a starting worker does with stalled ones
    id = client.create("a lighthouse").json["id"]

    worker.send_signal(signal.SIGCONT)

    wait_for(client, id, "completed")
    assert attempts(stack, id) == 1
    assert len(worker.exit_codes) == exits


@pytest.mark.faults
def test_worker__killed_is_detected_within_a_minute(stack, client, worker):
    id = begin(client)

    worker.park(signal.SIGKILL)
    worker.resume()

    wait_for(client, id, "completed", seconds=60)
    assert_rendered(stack, [id])


def begin(client: Client) -> str:
    id = client.create("a lighthouse").json["id"]
    wait_for(client, id, "processing")
    return id


def wait_for(client: Client, id: str, status: str, seconds: float = 20) -> None:
    wait_until(lambda: client.get(f"{URL}/{id}").json.get("status") == status, seconds)


def attempts(stack: Stack, id: str) -> int:
    return stack.cluster.value("SELECT attempts FROM generations_generation WHERE id = %s", id)
