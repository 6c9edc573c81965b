"""Responses to probes and clients while the database accepts no connection or does not respond."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from lockngen.tests.support.dev import URL
from lockngen.tests.support.oracle import is_expected
from lockngen.tests.support.stack import Answer, Client, Stack
from lockngen.tests.support.waiting import wait_until


def test_frozen__is_reported_in_time_and_survived(stack, client):
    with stack.cluster.frozen():
        assert_alive(client)
        ready = client.get("/ht/")
        assert_alive(client)
    thawed_at = time.monotonic()

    assert (ready.status, ready.seconds < 6) == (500, True), ready
    wait_until(lambda: client.get("/ht/").status == 200, 5)
    assert_alive(client)
    assert client.create("thawed").status == 201
    assert time.monotonic() - thawed_at < 5


def test_exhausted_connections__are_a_503_and_leave_the_web_alive(stack, client):
    calls = [("POST", URL, {"prompt": "one too many"}), ("GET", URL), ("GET", "/ht/")]
    with stack.without_connections(), ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(ask, stack, *call) for call in calls]
        assert_alive(client)
        created, listed, ready = (answer.result() for answer in answers)

    assert (created.status, listed.status, ready.status) == (503, 503, 500)
    assert is_expected(created)
    assert is_expected(listed)
    wait_until(lambda: client.create("room again").status == 201, 5)
    assert stack.cluster.value("SELECT count(*) FROM generations_generation WHERE prompt = 'one too many'") == 0


def ask(stack: Stack, *call) -> Answer:
    with Client(stack) as client:
        return client.ask(*call)


def assert_alive(client: Client) -> None:
    """Liveness is answered at once; the median of five, as the machine may be busy."""
    answers = [client.get("/ht/live") for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5, answers
    assert sorted(answer.seconds for answer in answers)[2] < 0.1, answers
