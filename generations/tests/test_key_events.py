"""The event stream of all generations of a key."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse

import pytest
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from generations.api import key_events
from generations.api.key_events import Wanted
from generations.models import Generation
from generations.progress.reports import Report
from generations.status import Status
from generations.tests.support.streams import Client
from lockngen.tests.support.dev import URL
from lockngen.web import event_streams

EVENTS = "/api/v1/events"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def follow(web, key):
    with ExitStack() as opened:

        def follow(token: str = "", **headers: str) -> HTTPResponse:
            client = opened.enter_context(closing(HTTPConnection("127.0.0.1", web.port, timeout=20)))
            client.request("GET", EVENTS, headers={"Authorization": f"Bearer {token or key.token}", **headers})
            return client.getresponse()

        yield follow


@pytest.fixture
def quick_stream(api, loop, monkeypatch) -> Iterator[Client]:
    """The stream without a web process. It reads the rows all the time."""
    monkeypatch.setattr(key_events, "MIN_INTERVAL", 0)
    monkeypatch.setattr(event_streams, "TICK", 0.01)
    with closing(Client(api.get(EVENTS), loop)) as client:
        yield client


def events(response: HTTPResponse) -> Iterator[tuple[str, dict, str]]:
    """Name, data and id of each event."""
    id = ""
    for line in response:
        name, _, value = line.decode().strip().partition(": ")
        if name == "id":
            id = value
        elif name == "event":
            yield value, json.loads(response.readline().removeprefix(b"data: ")), id
            id = ""


def changes(response: HTTPResponse) -> Iterator[tuple[str, str]]:
    return ((data["id"], data["status"]) for name, data, _ in events(response) if name == "generation")


def test_stream__shows_unfinished_ones_then_each_change(follow, make_generation, make_completed):
    make_completed()
    first, second = make_generation(), make_generation()
    seen = changes(follow())
    assert [next(seen), next(seen)] == [(str(first.id), "pending"), (str(second.id), "pending")]

    first.complete(first.start(), "a.png")
    second.cancel()

    last = {}
    while last.get(str(first.id)) != "completed" or last.get(str(second.id)) != "cancelled":
        id, status = next(seen)
        last[id] = status


def test_stream__shows_a_new_generation(follow, make_generation):
    seen = changes(follow())

    generation = make_generation()
    generation.start()

    assert next(seen)[0] == str(generation.id)


def test_stream__shows_progress(follow, make_generation):
    generation = make_generation()
    attempt = generation.start()
    seen = events(follow())
    assert next(seen)[0] == "generation"

    generation.publish(Report(attempt, 40, 12, 30))

    shown = next(data for name, data, _ in seen if name == "progress" and data["progress"])
    steps = {"step": 12, "steps": 30, "preview": None}
    assert shown == {"id": str(generation.id), "status": "processing", "progress": 40, **steps}


def test_stream__repeats_what_a_client_has_missed(follow, make_generation):
    generation, later = make_generation(), make_generation()
    _, _, id = next(events(follow()))
    assert abs(int(id) / 1000 - time.time()) < 5

    generation.cancel()

    repeated = [next(seen) for seen in [changes(follow(**{"Last-Event-ID": id}))] for _ in range(2)]
    assert repeated == [(str(generation.id), "cancelled"), (str(later.id), "pending")]


@pytest.mark.parametrize("id", ["x", "-1", "99999999999999", "1e3", "\xb2"])
def test_last_event_id__that_is_no_time_is_ignored(follow, make_generation, id):
    make_generation()

    assert next(changes(follow(**{"Last-Event-ID": id})))[1] == "pending"


def test_stream__is_of_the_key_alone(follow, make_key, make_generation):
    other = make_key()
    make_generation(api_key=other)
    own = make_generation()

    assert next(changes(follow())) == (str(own.id), "pending")


def test_stream__ends_with_its_key(make_generation, quick_stream, key):
    make_generation()
    quick_stream.next()

    key.revoke()

    assert list(quick_stream.chunks) == []


def test_stream__shows_a_deletion_as_cancelled(make_generation, quick_stream):
    generation = make_generation()
    quick_stream.next()

    generation.delete()

    name, shown = quick_stream.next()
    assert (name, shown["id"], shown["status"]) == ("generation", str(generation.id), "cancelled")


CHANGES = {
    "delete": lambda generation: generation.delete(),
    "restore": lambda generation: generation.restore(),
    "label": lambda generation: generation.set_labels({"a": "b"}),
    "remove": lambda generation: generation.hard_delete(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_stream__names_what_was_deleted_restored_or_labelled(follow, make_key, make_finished, make_generation, name):
    replaced, other = make_key(), make_key()
    key, token = replaced.rotate(grace=timedelta(0))
    hidden = {"deleted_days": 1 if name == "restore" else None}
    generation, strange = make_finished(api_key=replaced, **hidden), make_finished(api_key=other, **hidden)
    make_generation(api_key=key)
    seen = events(follow(token))
    assert next(seen)[0] == "generation"

    CHANGES[name](strange)
    CHANGES[name](generation)

    named = (data["ids"] for event, data, _ in seen if event == "changed")
    assert next(ids for ids in named if ids is not None) == [str(generation.id)]  # null after the listener's start


@pytest.mark.parametrize("are_simultaneous", [True, False])
def test_stream__shows_every_end_between_two_reads(key, quick_stream, monkeypatch, are_simultaneous):
    monkeypatch.setattr(key_events, "MAX_ROWS", 50)
    rows = [Generation(api_key=key, prompt="a lighthouse") for _ in range(120)]
    ids = {str(row.pk) for row in Generation.objects.bulk_create(rows)}
    for _ in range(key_events.MAX_ROWS):
        quick_stream.next()

    ended_at = Now() if are_simultaneous else RawSQL("clock_timestamp()", [])
    Generation.objects.update(status=Status.CANCELLED, completed_at=ended_at)

    ended = [shown["id"] for _, shown in (quick_stream.next() for _ in ids) if shown["status"] == "cancelled"]
    assert sorted(ended) == sorted(ids)


def test_read__is_one_statement_for_the_rows_of_all_keys(make_key, make_generation, django_assert_num_queries):
    keys = [make_key() for _ in range(20)]
    rows = [make_generation(api_key=key) for key in keys]
    keys[1].revoke()

    with django_assert_num_queries(2):
        pages = key_events.read_all([Wanted(key.pk, None) for key in keys])

    assert pages[1] is None
    assert [page.unfinished for page in pages if page] == [[row] for row in rows if row.api_key != keys[1]]


def test_read__goes_on_after_its_last_row(key, make_finished, monkeypatch):
    monkeypatch.setattr(key_events, "MAX_ROWS", 2)
    rows = [make_finished(days=3), make_finished(days=2), make_finished(days=1, deleted_days=1)]

    (first,) = key_events.read_all([Wanted(key.pk, datetime(2000, 1, 1, tzinfo=UTC))])
    last = first.ended[-1]
    (second,) = key_events.read_all([Wanted(key.pk, last.completed_at, last.pk)])

    assert (first.ended, first.is_full) == (rows[:2], True)
    assert (second.ended, second.is_full) == (rows[2:], False)


def test_read__includes_the_keys_that_were_replaced(key, make_generation):
    generation = make_generation()
    replacement, _ = key.rotate(grace=timedelta(0))

    (page,) = key_events.read_all([Wanted(replacement.pk, None)])

    assert page.unfinished == [generation]


def test_stream__is_not_counted(web, make_key, follow):
    key = make_key(rate_limit=1)

    statuses = [follow(key.token).status for _ in range(3)]

    assert statuses == [200] * 3
    with closing(HTTPConnection("127.0.0.1", web.port, timeout=20)) as client:
        client.request("GET", URL, headers={"Authorization": f"Bearer {key.token}"})
        assert client.getresponse().status == 200
