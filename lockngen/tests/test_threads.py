"""Calls in the threads of a web process."""

import asyncio
import threading

import pytest
from django.db import connection

from lockngen.tests.support.waiting import wait_until
from lockngen.web import threads
from lockngen.web.threads import Busy, DatabaseThreads

pytestmark = pytest.mark.anyio


@pytest.fixture
def pool() -> DatabaseThreads:
    return DatabaseThreads("test", 1)


@pytest.fixture
def hold(pool):
    """Keeps the one thread busy until the test ends."""
    over = threading.Event()
    yield lambda: asyncio.ensure_future(pool.run(over.wait, 10))
    over.set()


async def test_call__returns_or_raises(pool):
    assert await pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)


async def test_calls__are_made_in_order(pool):
    made = []

    await asyncio.gather(*(pool.run(made.append, number) for number in range(20)))

    assert made == list(range(20))


async def test_call__that_waits_too_long_is_refused_and_not_made(pool, hold, monkeypatch):
    made = []
    held = hold()
    late = pool.run(made.append, 1)
    assert not pool.refuse_late()

    monkeypatch.setattr(threads, "MAX_WAIT", -1)
    assert pool.refuse_late()

    with pytest.raises(Busy):
        await late
    held.cancel()
    assert made == []


async def test_call__that_was_cancelled_is_not_made(pool, hold):
    made = []
    held = hold()
    pool.run(made.append, 1).cancel()

    held.cancel()

    assert made == []


@pytest.mark.django_db(transaction=True)
def test_connection__is_returned_when_there_is_no_more_work(settings):
    pool = DatabaseThreads("test", 1)
    in_use = []

    def query() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        in_use.append(threading.current_thread())

    async def run() -> None:
        await asyncio.gather(*(pool.run(query) for _ in range(3)))

    before = connection.pool.get_stats()["pool_available"]
    asyncio.run(run())

    assert len(set(in_use)) == 1
    wait_until(lambda: connection.pool.get_stats()["pool_available"] >= before)
