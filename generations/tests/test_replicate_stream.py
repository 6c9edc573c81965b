"""The event stream of a prediction."""

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from generations.images import files, formats
from generations.models import Generation
from generations.progress import notifications
from generations.progress.notifications import ProgressHub
from generations.progress.reports import Report
from generations.submission import Submission
from generations.tests.support.encoded import PNG
from generations.tests.support.streams import Client
from lockngen.web import event_streams

pytestmark = pytest.mark.django_db(transaction=True)

Event = tuple[str, str, str]  # name, data and id


@pytest.fixture(autouse=True)
def hub(monkeypatch) -> ProgressHub:
    monkeypatch.setattr(notifications, "hub", hub := ProgressHub())
    monkeypatch.setattr(event_streams, "TICK", 0.01)
    return hub


@pytest.fixture
def make_call(key) -> Callable[[int], list[Generation]]:
    """The generations of one create call."""

    def make(count: int) -> list[Generation]:
        call = Submission(api_key=key, body_sha256="0" * 64)
        return Generation.objects.submit_call(call, [{"prompt": "a lighthouse"}] * count)

    return make


@pytest.fixture
def change(hub):
    """Change a generation by one of its methods, and publish that."""

    def change(generation: Generation, method: str, *arguments, **options):
        result = getattr(generation, method)(*arguments, **options)
        hub.receive(json.dumps({"id": str(generation.id)}))
        return result

    return change


@pytest.fixture
def complete(change):
    def complete(generation: Generation) -> None:
        attempt = change(generation, "start")
        change(generation, "complete", attempt, **files.store(generation, attempt, formats.read(PNG)))

    return complete


@pytest.fixture
def follow(api, open_stream):
    def follow(generation: Generation, last_event_id: str = "") -> Client:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return open_stream(api.get(f"/v1/files/{generation.id}/events", headers=headers))

    return follow


def next_event(client: Client) -> Event:
    fields = dict(line.split(": ", 1) for line in next(client.chunks).decode().strip().split("\n"))
    return fields["event"], fields["data"], fields["id"]


def is_image(event: Event, id: str) -> bool:
    return event[0] == "output" and event[1].startswith("data:image/png;base64,") and event[2] == id


def test_stream__sends_the_progress_of_all_and_each_output_in_order(make_call, follow, change, complete, hub):
    first, second = make_call(2)
    client = follow(first)

    complete(second)
    attempt = change(first, "start")
    hub.receive(json.dumps({"id": str(first.id), **asdict(Report(attempt, 40))}))

    assert next_event(client) == ("logs", "20%|██        | 20/100", "0")
    change(first, "complete", attempt, **files.store(first, attempt, formats.read(PNG)))
    assert next_event(client) == ("logs", "50%|█████     | 50/100", "0")
    assert is_image(next_event(client), "1")
    assert next_event(client) == ("logs", "100%|██████████| 100/100", "1")
    assert is_image(next_event(client), "2")
    assert next_event(client) == ("done", "{}", "2")
    assert list(client.chunks) == []


def test_stream__continues_after_the_last_event_of_a_client(make_call, follow, complete):
    first, second = make_call(2)
    complete(first)
    complete(second)

    events = [next_event(client := follow(first, "1")), *iter(lambda: next_event(client), ("done", "{}", "2"))]

    assert [event[0] for event in events] == ["logs", "output"]
    assert is_image(events[1], "2")


def test_stream__of_a_failure_has_the_other_outputs_first(make_call, follow, change, complete):
    first, second = make_call(2)
    change(first, "fail", change(first, "start"), "It is too large.")
    complete(second)
    client = follow(first)

    events = [next_event(client) for _ in range(4)]

    assert [event[0] for event in events] == ["logs", "output", "error", "done"]
    assert json.loads(events[2][1]) == {"detail": "It is too large."}
    assert json.loads(events[3][1]) == {"reason": "error"}


def test_stream__ends_with_its_key(make_call, follow, key):
    (generation,) = make_call(1)
    client = follow(generation)
    key.revoke()
    notifications.hub.refresh_all()

    assert list(client.chunks) == []
