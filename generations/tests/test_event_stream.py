import json
import time
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from apikeys.models import ApiKey
from apikeys.tests.test_models import UNUSABLE
from generations.api import waiting
from generations.models import Generation
from generations.progress import notifications, rows
from generations.progress.notifications import ProgressHub
from generations.progress.reports import Report
from generations.tests.support.streams import Client
from lockngen.web import event_streams

# A stream gives its connection back while it waits, which a test's own transaction would not survive.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def hub(monkeypatch) -> ProgressHub:
    """The hub of this process, which receives nothing from the database."""
    monkeypatch.setattr(notifications, "hub", hub := ProgressHub())
    monkeypatch.setattr(event_streams, "TICK", 0.01)
    return hub


@pytest.fixture
def publish(hub):
    """Let the hub receive a report, or a change of a generation."""

    def publish(generation, report: Report | None = None) -> None:
        hub.receive(json.dumps({"id": str(generation.id), **(asdict(report) if report else {})}))

    return publish


@pytest.fixture
def follow(api, open_stream):
    def follow(generation, client=api) -> Client:
        answer = client.get(address(generation))
        assert answer.status_code == 200, answer.content
        return open_stream(answer)

    return follow


def address(generation) -> str:
    return f"/api/v1/generations/{generation.id}/events"


def progress(status: str, percent: int, step: int | None = None, steps: int | None = None) -> tuple[str, dict]:
    return "progress", {"status": status, "progress": percent, "step": step, "steps": steps, "preview": None}


def test_stream__sends_the_state_each_change_and_the_end(api, make_generation, follow, publish):
    generation = make_generation()
    client = follow(generation)

    assert client.next() == progress("pending", 0)
    attempt = generation.start()
    publish(generation)
    assert client.next() == progress("processing", 0)
    publish(generation, Report(attempt, 40, 12, 30))
    assert client.next() == progress("processing", 40, 12, 30)
    publish(generation, Report(attempt, 40, 12, 30))
    publish(generation, Report(attempt, 50, 15, 30))
    assert client.next() == progress("processing", 50, 15, 30)
    generation.complete(attempt, "a.png")
    publish(generation)
    assert client.next() == progress("completed", 100)
    assert client.next() == ("end", api.get(f"/api/v1/generations/{generation.id}").json())
    assert list(client.chunks) == []


def test_stream__of_a_finished_generation_ends_at_once(make_generation, follow):
    generation = make_generation()
    generation.fail(generation.start(), "It is too large.")

    client = follow(generation)

    assert client.next() == progress("failed", 0)
    name, shown = client.next()
    assert (name, shown["error"]) == ("end", "It is too large.")
    assert list(client.chunks) == []


def test_stream__begins_with_the_latest_report(make_generation, follow, publish):
    generation = make_generation()
    publish(generation, Report(generation.start(), 40))

    assert follow(generation).next() == progress("processing", 40)


def test_stream__restarts_with_an_attempt_and_ignores_earlier_ones(make_generation, follow, publish):
    generation = make_generation()
    first = generation.start()
    publish(generation, Report(first, 40))
    client = follow(generation)
    client.next()

    second = generation.start()
    publish(generation)
    publish(generation, Report(first, 60))
    assert client.next() == progress("processing", 0)
    publish(generation, Report(second, 1))
    assert client.next() == progress("processing", 1)


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_stream__ends_when_the_generation_is_cancelled_or_deleted(make_generation, follow, publish, end):
    generation = make_generation()
    client = follow(generation)
    client.next()

    getattr(generation, end)()
    publish(generation)

    assert client.next() == progress("cancelled", 0)
    assert client.next()[1]["status"] == "cancelled"


def test_stream__ends_without_an_event_when_the_row_is_removed(make_generation, follow, publish):
    generation = make_generation()
    client = follow(generation)
    client.next()

    id = generation.id
    generation.hard_delete()
    publish(SimpleNamespace(id=id))

    assert list(client.chunks) == []


def test_stream__recovers_from_a_lost_event(make_generation, follow, monkeypatch):
    monkeypatch.setattr(waiting, "READ_INTERVAL", 0.05)
    generation = make_generation()
    client = follow(generation)
    client.next()

    generation.start()

    assert client.next() == progress("processing", 0)


def test_stream__without_a_change_sends_heartbeats_and_reads_the_row_rarely(make_generation, follow, monkeypatch):
    reads, read = [], rows.current
    monkeypatch.setattr(rows, "current", lambda wanted: reads.append(True) or read(wanted))
    monkeypatch.setattr(event_streams, "HEARTBEAT", 0.05)
    client = follow(make_generation())
    client.next()

    started_at = time.monotonic()
    assert {next(client.chunks) for _ in range(3)} == {b": still here\n\n"}
    assert 0.15 <= time.monotonic() - started_at < 2
    assert len(reads) == 1


@pytest.mark.parametrize("state", UNUSABLE)
def test_stream__ends_with_its_key(key, make_generation, follow, monkeypatch, state):
    monkeypatch.setattr(waiting, "READ_INTERVAL", 0)
    client = follow(make_generation())
    client.next()

    ApiKey.all_objects.filter(pk=key.pk).update(**UNUSABLE[state])

    assert list(client.chunks) == []


def test_stream__survives_an_outage_of_the_database(make_generation, follow, monkeypatch):
    monkeypatch.setattr(event_streams, "HEARTBEAT", 0)
    monkeypatch.setattr(waiting, "READ_INTERVAL", 0)
    generation = make_generation()
    client = follow(generation)
    client.next()

    with monkeypatch.context() as outage:
        outage.setattr(Generation.all_objects, "in_bulk", lambda *_, **__: broken())
        assert {next(client.chunks) for _ in range(5)} == {b": still here\n\n"}
    generation.start()

    assert client.next() == progress("processing", 0)


def broken():
    raise OperationalError("the connection is lost")


def test_stream__ends_after_its_longest_lifetime(make_generation, follow, monkeypatch):
    monkeypatch.setattr(event_streams, "MAX_LIFETIME", 0.1)
    client = follow(make_generation())
    client.next()

    assert list(client.chunks) == []


def test_stream__ends_with_its_process(make_generation, follow, monkeypatch):
    client = follow(make_generation())
    client.next()

    monkeypatch.setattr(event_streams.EventStream, "is_ending", staticmethod(lambda: True))

    assert list(client.chunks) == []


def test_stream__is_neither_cached_nor_buffered(make_generation, follow):
    answer = follow(make_generation()).answer

    assert answer["Content-Type"] == "text/event-stream"
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Accel-Buffering"] == "no"


def test_stream__is_not_counted_by_the_limit(make_key, make_generation, client_of, follow):
    key = make_key(rate_limit=1)
    generation = make_generation(api_key=key)

    for _ in range(3):
        follow(generation, client_of(key)).close()


@pytest.mark.parametrize("whose", ["another key", "none", "deleted"])
def test_stream__is_for_the_owner_only(make_key, make_generation, client_of, api, whose):
    generation = make_generation()
    if whose == "deleted":
        generation.delete()
    client = client_of(make_key()) if whose == "another key" else api
    requested = SimpleNamespace(id="01a2060a-d97e-74b1-8053-66d169bbcd7f") if whose == "none" else generation

    assert client.get(address(requested)).status_code == 404


@pytest.mark.parametrize(("setting", "status"), [("WEB_WAITING", 503), ("WEB_WAITING_PER_KEY", 429)])
def test_streams__have_a_limit(make_generation, follow, api, settings, setting, status):
    setattr(settings, setting, 2)
    generation = make_generation()
    first, _ = follow(generation), follow(generation)

    refused = api.get(address(generation))
    assert (refused.status_code, refused["Retry-After"]) == (status, "5")
    assert refused.json()["type"] == "urn:lockngen:problem:too-many-at-once"

    first.close()
    follow(generation)


def test_streams__of_one_key_leave_those_of_another(make_key, make_generation, client_of, follow, settings):
    settings.WEB_WAITING_PER_KEY = 1
    follow(make_generation())
    other = make_key()

    follow(make_generation(api_key=other), client_of(other))


def test_head__of_a_stream_does_not_count(make_generation, api, settings):
    settings.WEB_WAITING = 1
    generation = make_generation()

    for _ in range(3):
        answer = api.head(address(generation))
        assert (answer.status_code, b"".join(answer.streaming_content)) == (200, b"")
        answer.close()


def test_closed_stream__ends_its_subscription(make_generation, follow, hub):
    client = follow(make_generation())
    client.next()
    assert hub._subscriptions

    client.close()

    assert not hub._subscriptions
