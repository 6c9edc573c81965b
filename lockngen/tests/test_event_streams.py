"""Event streams through a whole web process with one thread for requests."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from django.db import connection

from generations.progress.reports import Report
from lockngen.tests.support.dev import URL
from lockngen.tests.support.web import Caller, Web

WEB_OPTIONS = {"threads": 1, "WEB_WAITING": "2", "DB_POOL_MAX_SIZE": "1"}


@pytest.fixture
def follow(key):
    with ExitStack() as opened:

        def follow(web: Web, generation) -> http.client.HTTPResponse:
            client = opened.enter_context(closing(http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)))
            client.request("GET", f"{URL}/{generation.id}/events", headers={"Authorization": f"Bearer {key.token}"})
            return client.getresponse()

        yield follow


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict]]:
    for line in answer:
        if line.startswith(b"event: "):
            data = answer.readline().removeprefix(b"data: ")
            yield line.removeprefix(b"event: ").decode().strip(), json.loads(data)


def summary(event: tuple[str, dict]) -> tuple:
    return event[0], event[1]["status"], event[1]["progress"]


@pytest.mark.django_db(transaction=True)
def test_stream__follows_a_generation_from_its_start_to_its_end(web, key, make_generation, follow):
    generation = make_generation()
    received = events(follow(web, generation))
    assert summary(next(received)) == ("progress", "pending", 0)

    attempt = generation.start()
    assert summary(next(received)) == ("progress", "processing", 0)
    generation.publish(Report(attempt, 40, 12, 30))
    assert next(received)[1] == {"status": "processing", "progress": 40, "step": 12, "steps": 30, "preview": None}
    with Caller(web.port, key.token) as caller:
        shown = json.loads(caller.ask(f"{URL}/{generation.id}").body)
    assert shown["progress"] == 40
    generation.complete(attempt, "a.png")

    assert [summary(event) for event in received] == [("progress", "completed", 100), ("end", "completed", 100)]


@pytest.mark.django_db(transaction=True)
def test_head__leaves_the_connection_to_the_next_request(web, key, make_generation):
    address = f"{URL}/{make_generation().id}"
    headers = {"Authorization": f"Bearer {key.token}"}
    with closing(http.client.HTTPConnection("127.0.0.1", web.port, timeout=5)) as client:
        client.request("HEAD", f"{address}/events", headers=headers)
        client.getresponse().read()

        client.request("GET", address, headers=headers)

        assert client.getresponse().status == 200


@pytest.mark.django_db(transaction=True)
def test_head__of_the_studio_s_stream_ends(web, key):
    with closing(http.client.HTTPConnection("127.0.0.1", web.port, timeout=5)) as client:
        client.request("GET", "/")
        page = client.getresponse()
        csrf = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.read().decode())[1]
        headers = {"Cookie": page.headers["Set-Cookie"], "Content-Type": "application/x-www-form-urlencoded"}
        client.request("POST", "/studio/sign-in", f"token={key.token}&csrfmiddlewaretoken={csrf}", headers)
        signed_in = client.getresponse()
        signed_in.read()

        client.request("HEAD", "/studio/events", headers={"Cookie": signed_in.headers["Set-Cookie"]})
        head = client.getresponse()

        assert (head.status, head.headers["Content-Type"], head.read()) == (200, "text/event-stream", b"")
        client.request("GET", "/ht/live")
        assert client.getresponse().status == 200


@pytest.mark.django_db(transaction=True)
def test_streams__leave_threads_and_connections_to_requests(web, key, make_generation, follow):
    generation = make_generation()
    streams = [events(follow(web, generation)) for _ in range(2)]
    for stream in streams:
        next(stream)

    assert follow(web, generation).status == 503
    with Caller(web.port, key.token) as caller:
        started_at = time.monotonic()
        assert [caller.ask(f"{URL}/{generation.id}").status for _ in range(5)] == [200] * 5
    assert time.monotonic() - started_at < 2

    generation.cancel()
    assert [[summary(event) for event in stream][-1] for stream in streams] == [("end", "cancelled", 0)] * 2


@pytest.mark.django_db(transaction=True)
def test_stream__outlives_the_session_that_listens(web, make_generation, follow):
    generation = make_generation()
    received = events(follow(web, generation))
    next(received)

    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'lockngen lockngen_generation' AND datname = current_database()
        """)
        assert cursor.fetchall() == [(True,)]
    generation.start()

    assert summary(next(received)) == ("progress", "processing", 0)


@pytest.mark.django_db(transaction=True)
def test_stream__ends_at_once_and_in_order_when_its_web_stops(web, make_generation, follow):
    received = events(follow(web, make_generation()))
    next(received)

    started_at = time.monotonic()
    web.process.terminate()

    assert list(received) == []  # one that broke off would raise
    assert time.monotonic() - started_at < 2
    assert web.wait(20) == 0
    assert time.monotonic() - started_at < 8
