"""Workers are killed and frozen all the time, and some prompts kill theirs."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

import pytest

from lockngen.tests.support.chaos import Chaos
from lockngen.tests.support.oracle import (
    assert_ended_once,
    assert_images,
    assert_no_job_is_left,
    describe,
    wait_until_finished,
)
from lockngen.tests.support.stack import Program, let_leases_end, rescue
from lockngen.tests.support.waiting import wait_until

HALF_A_SECOND = "sketch:?seconds=0.5"


class Form(NamedTuple):
    generations: int
    poison: int
    workers: int
    concurrency: int
    strikes: int
    every: float  # seconds
    frozen_for: float  # seconds
    hasty: bool  # whether the workers' leases end with each strike
    max_attempts: int
    drained_within: float  # seconds after the last strike

    def run(self, run_workers) -> list[Program]:
        variables = {"WORKER_CONCURRENCY": self.concurrency, "RENDER_MAX_ATTEMPTS": self.max_attempts}
        return run_workers(self.workers, RENDERER_URL=HALF_A_SECOND, **{k: str(v) for k, v in variables.items()})


# A strike ends every worker's lease, so it costs a prompt one attempt, and a second one if it is rendered again before
# its worker's next heartbeat: fewer than twice four in all.
SHORT = Form(20, 0, 2, 2, strikes=4, every=0.3, frozen_for=0, hasty=True, max_attempts=8, drained_within=30)
# A death is detected after 20 s at the earliest, if the last heartbeat was 10 s before it. So a minute of strikes can
# cost a prompt three attempts, and none is rendered beside poison.
LONG = Form(300, 2, 3, 1, strikes=20, every=3, frozen_for=50, hasty=False, max_attempts=4, drained_within=180)


@pytest.mark.parametrize(
    "form", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.faults)]
)
def test_workers__that_are_killed_and_frozen_lose_and_repeat_nothing(stack, client, run_workers, form):
    prompts = {client.create(prompt).json["id"]: prompt for prompt in (f"dunes {n}" for n in range(form.generations))}
    poison = [client.create(f"poison {n}").json["id"] for n in range(form.poison)]
    chaos = Chaos(form.run(run_workers), form.frozen_for)

    for _ in range(form.strikes):
        time.sleep(form.every)
        chaos.strike()
        if form.hasty:
            hasten(stack)
    struck_at = time.monotonic()
    chaos.end()

    wait_until_completed(stack, prompts, struck_at + form.drained_within - time.monotonic())
    wait_until_finished(stack, form.max_attempts * 60)  # poison kills on; each death is detected within a minute
    repeated = stack.cluster.value(REPEATED, list(prompts))
    assert repeated >= form.strikes / 4, "The chaos did hardly any harm."
    assert_images(stack, prompts)
    assert_failed(stack, poison, form.max_attempts)
    assert_ended_once(stack, [*prompts, *poison])
    assert_no_job_is_left(stack)


def test_poison__fails_after_its_attempts_and_the_others_are_rendered(stack, client, run_workers):
    poison = client.create("poison").json["id"]
    prompts = {client.create(f"dunes {n}").json["id"]: f"dunes {n}" for n in range(3)}
    (worker,) = POISONED.run(run_workers)

    for death in (1, 2):
        wait_until(lambda death=death: len(worker.exit_codes) == death, 20, worker.output)
        let_leases_end(stack)
        rescue(stack)

    wait_until_finished(stack, 20)
    assert_failed(stack, [poison], attempts=2)
    assert_images(stack, prompts)
    assert_ended_once(stack, [poison, *prompts])
    assert len(worker.exit_codes) == 2


POISONED = SHORT._replace(workers=1, concurrency=1, max_attempts=2)
IN_HAND = "SELECT id::text FROM generations_generation WHERE status = 1"
COMPLETED = "SELECT count(*) FROM generations_generation WHERE id = ANY(%s::uuid[]) AND status = 2"
REPEATED = "SELECT count(*) FROM generations_generation WHERE id = ANY(%s::uuid[]) AND attempts > 1"
FAILED = "SELECT id::text, status, attempts, error_message FROM generations_generation WHERE id = ANY(%s::uuid[])"


def hasten(stack) -> None:
    """Have the generations in progress completed, also those of the dead worker, whose lease ends at once."""
    in_hand = [id for (id,) in stack.cluster.rows(IN_HAND)]
    let_leases_end(stack)
    rescue(stack)
    wait_until_completed(stack, in_hand, 30)


def wait_until_completed(stack, ids: Collection[str], seconds: float) -> None:
    wait_until(lambda: stack.cluster.value(COMPLETED, list(ids)) == len(ids), seconds, lambda: describe(stack))


def assert_failed(stack, ids: list[str], attempts: int) -> None:
    message = f"Rendering failed after {attempts} attempts."
    assert sorted(stack.cluster.rows(FAILED, ids)) == sorted((id, 3, attempts + 1, message) for id in ids)
