"""Webhooks while workers are killed and stopped, receivers hang, and the database restarts."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from generations.tests.support.receiver import Receiver, silence
from lockngen.tests.support.dev import URL
from lockngen.tests.support.stack import POLLING, Client, Stack, let_leases_end, rescue
from lockngen.tests.support.waiting import wait_until

PENDING = "SELECT count(*) FROM generations_webhookdelivery WHERE state = 0"
STATES = """
    SELECT state, count(*) FROM generations_webhookdelivery WHERE generation_id = ANY(%s::uuid[]) GROUP BY 1 ORDER BY 1
"""


@pytest.fixture
def make_receiver() -> Iterator:
    started: list[Receiver] = []

    def make(*answers) -> Receiver:
        started.append(Receiver(*answers))
        return started[-1]

    yield make
    for receiver in started:
        receiver.close()


def create(client: Client, receiver: Receiver, count: int = 1, **fields) -> list[str]:
    """Generations whose `completed` is sent to the receiver; returns their ids."""
    answer = client.create("a lighthouse", webhook=receiver.url, n=count, **fields)
    assert answer.status == 201, answer
    return [each["id"] for each in answer.json["items"]]


def generations_of(receiver: Receiver) -> list[str]:
    return [request.json["data"]["id"] for request in receiver.received]


def test_receiver__that_hangs_holds_neither_renders_nor_other_receivers(stack, client, make_receiver):
    hanging, quick = make_receiver(silence(60)), make_receiver()
    held = [id for _ in range(3) for id in create(client, hanging, 10)]
    wait_until(lambda: len(hanging.received) >= 5, 20, stack.worker.output)
    started_at = time.monotonic()

    ids = create(client, quick, 5)

    wait_until(lambda: sorted(generations_of(quick)) == sorted(ids), 20, stack.worker.output)
    assert time.monotonic() - started_at < 10  # before any of those attempts ended
    statuses = Counter(client.get(f"{URL}/{id}").json["status"] for id in held)
    assert statuses == {"completed": 30}
    assert hanging.most_open <= 5
    stack.cluster.rows("DELETE FROM generations_webhookdelivery WHERE generation_id = ANY(%s::uuid[])", held)


@pytest.mark.faults
def test_two_workers__send_each_webhook_once(stack, client, make_receiver):
    receiver = make_receiver()
    workers = [stack.run_worker("second", *POLLING)]
    try:
        ids = [
            id for _ in range(4) for id in create(client, receiver, 10, webhook_events_filter=["start", "completed"])
        ]
        wait_until(lambda: len(receiver.received) >= 80, 60, stack.worker.output)
        wait_until(lambda: stack.cluster.value(PENDING) == 0, 20, stack.worker.output)
    finally:
        stack.close_workers(workers)

    assert Counter(receiver.ids).most_common(1)[0][1] == 1
    sent = Counter((request.json["type"], request.json["data"]["id"]) for request in receiver.received)
    assert sent == {(f"generation.{event}", id): 1 for event in ("start", "completed") for id in ids}
    assert stack.cluster.rows(STATES, ids) == [(1, 80)]


def test_worker__killed_before_it_marks_a_success_sends_it_again_under_the_same_id(stack, client, make_receiver):
    def kill_and_answer(handler) -> None:
        stack.worker.send_signal(signal.SIGKILL)
        handler.respond(200)

    receiver = make_receiver(kill_and_answer, 200)
    exits = len(stack.worker.exit_codes)
    (id,) = create(client, receiver)
    wait_until(lambda: len(stack.worker.exit_codes) > exits, 20)

    known = stack.newest_worker()
    wait_until(lambda: stack.newest_worker() > known or len(receiver.received) > 1, 30, stack.worker.output)
    let_leases_end(stack)
    rescue(stack)

    wait_until(lambda: stack.cluster.rows(STATES, [id]) == [(1, 1)], 30, stack.worker.output)
    assert len(receiver.received) == 2
    assert len(set(receiver.ids)) == 1


@pytest.mark.faults
def test_worker__stopped_during_an_attempt_leaves_it_to_the_next(stack, client, make_receiver):
    receiver = make_receiver(silence(60), 200)
    (id,) = create(client, receiver)
    wait_until(lambda: receiver.received, 20, stack.worker.output)
    started_at = time.monotonic()

    assert stack.worker.park(signal.SIGTERM, seconds=20) == 0
    took = time.monotonic() - started_at
    stack.worker.resume()

    assert took < 12  # RENDER_GRACE is 8
    wait_until(lambda: stack.cluster.rows(STATES, [id]) == [(1, 1)], 30, stack.worker.output)
    assert len(set(receiver.ids)) == 1


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_database__that_restarts_loses_no_webhook(stack: Stack, client, make_receiver, mode):
    receiver = make_receiver(silence(1))
    ids = create(client, receiver, 10)
    wait_until(lambda: receiver.received, 20, stack.worker.output)

    stack.cluster.restart(mode, seconds_down=1)

    wait_until(lambda: set(generations_of(receiver)) == set(ids), 60, stack.worker.output)
    wait_until(lambda: stack.cluster.rows(STATES, ids) == [(1, 10)], 60, stack.worker.output)
