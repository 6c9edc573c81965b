"""LISTEN in a web process: when it starts, and that it survives the loss of its session."""

import asyncio
from contextlib import ExitStack

import psycopg
import pytest

from generations.progress import notifications
from generations.progress.notifications import Subscription
from generations.progress.reports import Report
from lockngen.tests.support.waiting import wait_until


@pytest.mark.parametrize("status", ["pending", "completed"])
def test_listener__starts_with_the_first_request_for_an_unfinished_generation(make_generation, monkeypatch, status):
    started = []
    monkeypatch.setattr(notifications.listener, "start", lambda: started.append(True))
    generation = make_generation()
    if status == "completed":
        generation.complete(generation.start(), "a.png")

    notifications.percent(generation)

    assert bool(started) == (status == "pending")


def test_listener__reconnects_after_its_session_was_terminated(listening, make_generation, hub, sql, caplog):
    generation = make_generation()
    attempt = generation.start()
    listening.start()
    wait_until(lambda: listening.is_listening)
    sessions = f"FROM pg_stat_activity WHERE application_name ~ '{notifications.CHANNEL}$'"

    with asyncio.Runner() as loop, ExitStack() as stack:

        async def subscribe() -> Subscription:
            return stack.enter_context(hub.subscribe(generation.id))

        subscription = loop.run(subscribe())
        ((pid, _),) = sql(f"SELECT pid, pg_terminate_backend(pid) {sessions}")
        assert loop.run(subscription.wait(10))
        assert subscription.needs_refresh()  # notifications may have been lost

    assert wait_until(lambda: sql(f"SELECT pid {sessions}")) != [(pid,)]
    generation.publish(Report(attempt, 7))
    assert wait_until(lambda: hub.last(generation.id, attempt)) == Report(attempt, 7)
    assert caplog.text.count("Not listening") == 1


def test_listener__has_one_session_however_often_it_is_started(listening, sql):
    for _ in range(5):
        listening.start()
    wait_until(lambda: listening.is_listening)

    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", f"%{notifications.CHANNEL}") == [
        (1,)
    ]


def test_listener__waits_longer_after_each_failed_connection(monkeypatch, hub):
    listener, pauses = notifications.Listener(notifications.CHANNEL, hub.receive, hub.refresh_all), []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            listener.stop()

    def refuse(**_):
        raise psycopg.OperationalError("no route to host")

    monkeypatch.setattr("lockngen.database.listener.psycopg.connect", refuse)
    monkeypatch.setattr(listener._stops, "wait", wait)
    listener._run()

    assert pauses == [0.25, 0.5, 1, 2, 4, 5, 5]
