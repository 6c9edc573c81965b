"""Calls in the threads of a web process."""

import asyncio
import threading

import pytest
from django.db import connection

from lockngen import health
from lockngen.tests.support.waiting import wait_until
from lockngen.web import threads
from lockngen.web.threads import Busy, DatabaseThreads

pytestmark = pytest.mark.anyio


@pytest.fixture
def pool() -> DatabaseThreads:
    return DatabaseThreads("test", 1)


@pytest.fixture
def impatient() -> DatabaseThreads:
    """Every call is late at once."""
    return DatabaseThreads("test", 1, max_wait=-1)


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


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
async def test_call__may_raise_what_a_future_can_not_hold(pool, error):
    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=error.__name__) as caught:
        await asyncio.wait_for(pool.run(fail), 5)

    assert isinstance(caught.value.__cause__, error)


async def test_call__that_waits_too_long_is_refused(impatient, monkeypatch):
    monkeypatch.setattr(impatient, "_start", lambda: None)  # without threads
    late = impatient.run(divmod, 7, 2)

    assert impatient.refuse_late()

    with pytest.raises(Busy):
        await late
    assert not impatient.refuse_late()


async def test_call__does_not_begin_too_late(impatient):
    made = []

    with pytest.raises(Busy):
        await impatient.run(made.append, 1)

    assert made == []


async def test_call__that_is_waiting_in_time_is_not_refused(pool, hold):
    held = hold()
    waiting = pool.run(divmod, 7, 2)

    assert not pool.refuse_late()

    held.cancel()
    waiting.cancel()


@pytest.mark.parametrize("name", ["API", "DJANGO", "PAGES", "PROBES", "REFUSALS"])
async def test_all_threads__have_a_longest_wait(monkeypatch, impatient, name):
    monkeypatch.setattr(threads, name, impatient)
    monkeypatch.setattr(impatient, "_start", lambda: None)
    late = impatient.run(divmod, 7, 2)

    threads.refuse_late()

    with pytest.raises(Busy):
        await late


def test_probe__responds_within_six_seconds():
    a_check = health.Check.timeout.total_seconds() + 1  # added by the library

    assert threads.PROBES.max_wait + a_check <= 6


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
        connection.query("SELECT 1")
        in_use.append(threading.current_thread())

    async def run() -> None:
        await asyncio.gather(*(pool.run(query) for _ in range(3)))

    before = connection.pool.get_stats()["pool_available"]
    asyncio.run(run())

    assert len(set(in_use)) == 1
    wait_until(lambda: connection.pool.get_stats()["pool_available"] >= before)
