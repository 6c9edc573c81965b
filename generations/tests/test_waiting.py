"""Calls that wait for the end of a generation, through a real web process."""

import json
import socket
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest
from django.db import connection
from django.db.models.functions import Now

from generations.api import waiting
from generations.models import Generation
from generations.status import Status
from lockngen.tests.support.dev import URL
from lockngen.tests.support.waiting import wait_until
from lockngen.tests.support.web import Caller

WEB_OPTIONS = {"application": "generations.tests.support.quick_asgi"}

pytestmark = pytest.mark.django_db(transaction=True)


class WaitingCall(threading.Thread):
    """A call in a thread of its own, and its response."""

    def __init__(self, web, key, method: str, path: str, body: str | None = None, **headers: str):
        super().__init__(daemon=True)
        self.connection = HTTPConnection("127.0.0.1", web.port, timeout=20)
        self.connection.request(method, path, body, {"Authorization": f"Bearer {key.token}", **headers})
        self.start()

    def run(self) -> None:
        self.response = self.connection.getresponse()
        self.shown = json.loads(self.response.read())
        self.ended_at = time.monotonic()
        self.connection.close()

    def result(self) -> tuple[int, dict]:
        self.join(20)
        return self.response.status, self.shown


@pytest.fixture
def call(web, key):
    return lambda *arguments, **headers: WaitingCall(web, key, *arguments, **headers)


def newest() -> Generation:
    return wait_until(lambda: Generation.objects.order_by("-id").first())


@pytest.mark.parametrize(("query", "headers"), [("?wait=15", {}), ("", {"Prefer": "wait=15"})])
def test_create__waits_for_the_end(call, query, headers):
    created = call("POST", URL + query, '{"prompt": "a cat"}', **headers)
    generation = newest()
    time.sleep(0.2)  # so that the call waits

    generation.complete(generation.start(), "a.png")
    ended_at = time.monotonic()

    status, shown = created.result()
    assert (status, shown["id"], shown["status"], shown["progress"]) == (201, str(generation.id), "completed", 100)
    assert created.response.headers["Location"].endswith(f"{URL}/{generation.id}")
    assert created.response.headers["Preference-Applied"] == ("wait=15" if headers else None)
    assert created.ended_at - ended_at < 1


def test_show__waits_for_a_failure(call, make_generation):
    generation = make_generation()
    shown = call("GET", f"{URL}/{generation.id}?wait=15")
    time.sleep(0.2)

    generation.fail(generation.start(), "It is too large.")

    assert shown.result()[1]["error"] == "It is too large."


def test_show__of_what_has_ended_responds_at_once(call, make_completed):
    started_at = time.monotonic()

    assert call("GET", f"{URL}/{make_completed().id}?wait=15").result()[1]["status"] == "completed"
    assert time.monotonic() - started_at < 2


def test_wait__ends_with_the_unfinished_generation(call, make_generation):
    started_at = time.monotonic()

    status, shown = call("GET", f"{URL}/{make_generation().id}?wait=1").result()

    assert (status, shown["status"]) == (200, "pending")
    assert 1 <= time.monotonic() - started_at < 2.5


@pytest.mark.parametrize("wait", ["0", "61", "x", "1.5", "-1", ""])
def test_wait__out_of_range_is_refused(call, make_generation, wait):
    status, problem = call("GET", f"{URL}/{make_generation().id}?wait={wait}").result()

    assert (status, problem["errors"][0]["field"]) == (422, "wait")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10), ("wait", 60), ("wait=100", 60), ("respond-async, wait=5", 5), ("Wait = 7", 7), ('wait="3"', 3),
        ("return=minimal", None), ("", None), ("await=3", None), ("wait=x", None), ("wait=-1", None),
    ],
)  # fmt: skip
def test_preference__is_read(header, seconds):
    assert waiting._preferred(header, 60) == seconds


def test_wait__outlives_the_session_that_listens(call, make_generation):
    generation = make_generation()
    shown = call("GET", f"{URL}/{generation.id}?wait=15")
    wait_until(lambda: listeners("count(*)") == [(1,)])

    assert listeners("pg_terminate_backend(pid)") == [(True,)]
    generation.cancel()

    assert shown.result()[1]["status"] == "cancelled"


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.faults)])
def test_many_waits__outlive_the_session_that_listens(web, make_key, make_generation, count):
    keys = [make_key() for _ in range(count // 50)]
    generations = [make_generation(api_key=key) for key in keys]
    requests = [
        f"GET {URL}/{generation.id}?wait=30 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: Bearer {key.token}\r\n\r\n".encode()
        for key, generation in zip(keys, generations, strict=True)
    ]
    with ExitStack() as opened:
        clients = []
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", web.port), timeout=20)
            clients.append(opened.enter_context(client))
            client.sendall(requests[number % len(requests)])
        with Caller(web.port, keys[0].token) as caller:
            assert caller.ask("/api/v1/key").status == 200  # so nearly all calls before it wait
        wait_until(lambda: listeners("count(*)") == [(1,)])

        assert listeners("pg_terminate_backend(pid)") == [(True,)]
        Generation.objects.update(status=Status.CANCELLED, completed_at=Now())  # without a notification
        responses = [b"".join(iter(lambda client=client: client.recv(65536), b"")) for client in clients]

    assert sum(response.startswith(b"HTTP/1.1 200 ") for response in responses) == count
    assert sum(b'"status":"cancelled"' in response for response in responses) == count


def listeners(what: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(f"""
            SELECT {what} FROM pg_stat_activity
            WHERE application_name = 'lockngen lockngen_generation' AND datname = current_database()
        """)
        return cursor.fetchall()


def test_wait__ends_with_its_key(call, key, make_generation, monkeypatch):
    generation = make_generation()
    shown = call("GET", f"{URL}/{generation.id}?wait=15")
    time.sleep(0.2)

    key.revoke()

    status, shown = shown.result()
    assert (status, shown["status"]) == (200, "pending")


def test_slot__is_released_if_the_call_fails(make_key, client_of, settings, make_generation, without_collector):
    settings.WEB_WAITING_PER_KEY = 1
    key = make_key(max_pending=1)
    make_generation(api_key=key)

    for _ in range(3):
        response = client_of(key).post(f"{URL}?wait=5", {"prompt": "x"}, content_type="application/json")
        assert response.json()["type"] == "urn:lockngen:problem:queue-full"


def test_slot__is_released_if_the_generation_has_ended(api, settings, make_completed, without_collector):
    settings.WEB_WAITING_PER_KEY = 1
    generation = make_completed()

    assert [api.get(f"{URL}/{generation.id}?wait=5").status_code for _ in range(3)] == [200] * 3


def test_many_waits__hold_up_no_other_call(web, call, make_generation):
    generation = make_generation()
    waits = [call("GET", f"{URL}/{generation.id}?wait=15") for _ in range(30)]

    started_at = time.monotonic()
    assert call("GET", f"{URL}/{generation.id}").result()[0] == 200
    assert time.monotonic() - started_at < 2

    generation.cancel()
    assert {wait.result()[1]["status"] for wait in waits} == {"cancelled"}
