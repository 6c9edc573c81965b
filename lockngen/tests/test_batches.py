"""Calls that are joined."""

import asyncio
import threading

import pytest
from django.db import OperationalError

from lockngen.web import batches, threads
from lockngen.web.batches import Batches

pytestmark = pytest.mark.anyio


async def test_batches__join_what_arrives_during_one():
    seen, may_end = [], threading.Event()

    def double(items: list[int]) -> list[int]:
        seen.append(items)
        may_end.wait(5)
        return [2 * item for item in items]

    joined = Batches(double)
    first = asyncio.create_task(joined.add(1))
    while not seen:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(joined.add(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    may_end.set()

    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert seen == [[1], [2, 3]]


async def test_batches__have_a_size(monkeypatch):
    monkeypatch.setattr(batches, "MAX_SIZE", 2)
    sizes = []
    joined = Batches(lambda items: sizes.append(len(items)) or items)

    assert await asyncio.gather(*(joined.add(number) for number in range(5))) == [0, 1, 2, 3, 4]
    assert sizes == [2, 2, 1]


async def test_batch__waits_for_items_that_are_being_prepared(monkeypatch):
    monkeypatch.setattr(batches, "MAX_DELAY", 5)
    seen, is_prepared = [], asyncio.Event()
    joined = Batches(lambda items: seen.append(items) or items)

    async def prepare_and_add(item: int) -> int:
        with joined.expect():
            await is_prepared.wait()
        return await joined.add(item)

    late = [asyncio.create_task(prepare_and_add(number)) for number in (2, 3)]
    first = asyncio.create_task(joined.add(1))
    await asyncio.sleep(0.05)
    assert seen == []
    is_prepared.set()

    assert await asyncio.wait_for(asyncio.gather(first, *late), 2) == [1, 2, 3]
    assert seen == [[1, 2, 3]]


async def test_batch__does_not_wait_long_for_an_item():
    joined = Batches(lambda items: items)

    with joined.expect():
        assert await asyncio.wait_for(joined.add(1), 2) == 1


async def test_batch__raises_the_error_of_each_item():
    joined = Batches(lambda items: [ValueError(item) if item else item for item in items])

    results = await asyncio.gather(*(joined.add(item) for item in (0, 1)), return_exceptions=True)

    assert [type(result) for result in results] == [int, ValueError]


async def test_batch__that_fails_fails_for_all():
    joined = Batches(lambda items: 1 / 0)

    results = await asyncio.gather(joined.add(1), joined.add(2), return_exceptions=True)

    assert [type(result) for result in results] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
async def test_batch__with_another_number_of_results_fails_for_all(results):
    joined = Batches(lambda items: results)

    waiting = asyncio.gather(joined.add(1), joined.add(2), return_exceptions=True)

    assert [str(error) for error in await asyncio.wait_for(waiting, 5)] == [
        f"A batch of 2 items has {len(results)} results."
    ] * 2


async def test_batch__may_raise_what_a_future_can_not_hold():
    joined = Batches(lambda items: next(iter([])))
    single = Batches(lambda items: [StopIteration(), 2])

    failed = await asyncio.wait_for(asyncio.gather(joined.add(1), return_exceptions=True), 5)
    mixed = await asyncio.wait_for(asyncio.gather(single.add(1), single.add(2), return_exceptions=True), 5)

    assert [type(result) for result in (*failed, *mixed)] == [RuntimeError, RuntimeError, int]


async def test_batch__is_not_cancelled_by_a_client_that_goes_away():
    done = []
    joined = Batches(lambda items: done.extend(items) or items)

    client = asyncio.create_task(joined.add(1))
    await asyncio.sleep(0)
    client.cancel()
    await joined.add(2)

    assert done == [1, 2]


@pytest.mark.parametrize("error", [threads.Busy(), OperationalError("the connection is lost")])
async def test_add_or__keeps_the_previous_result_during_an_outage(error):
    joined = Batches(lambda items: [error for _ in items])

    assert await joined.add_or(1, "before") == "before"


async def test_add_or__raises_other_errors():
    joined = Batches(lambda items: [ZeroDivisionError() for _ in items])

    with pytest.raises(ZeroDivisionError):
        await joined.add_or(1, "before")
