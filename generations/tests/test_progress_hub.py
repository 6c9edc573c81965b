"""What a process keeps of the notifications it receives, and which subscriptions it wakes."""

import json
from uuid import UUID, uuid4

import pytest

from generations.progress import notifications
from generations.progress.notifications import ProgressHub
from generations.progress.reports import Report
from generations.tests.support.payloads import payload_of


def test_hub__returns_the_last_report_of_an_attempt():
    hub, id = ProgressHub(), uuid4()

    for report in (Report(1, 80), Report(2, 5), Report(2, 10)):
        hub.receive(payload_of(id, report))

    assert hub.last(id, 2) == Report(2, 10)
    assert hub.last(id, 1) is hub.last(id, 3) is hub.last(uuid4(), 2) is None


def test_hub__drops_the_report_of_a_changed_generation():
    hub, id = ProgressHub(), uuid4()
    hub.receive(payload_of(id, Report(1, 80)))

    hub.receive(json.dumps({"id": str(id)}))

    assert hub.last(id, 1) is None


def test_hub__keeps_a_limited_number_of_reports(monkeypatch):
    monkeypatch.setattr(notifications, "MAX_REPORTS", 2)
    hub, ids = ProgressHub(), [uuid4() for _ in range(3)]

    for id in [*ids[:2], ids[0], ids[2]]:
        hub.receive(payload_of(id, Report(1, 5)))

    assert [bool(hub.last(id, 1)) for id in ids] == [True, False, True]


def changed(key: UUID, ids: list[UUID] | None) -> str:
    return json.dumps({"key": str(key), "ids": ids and [str(id) for id in ids]})


ID = "01a2060a-d97e-74b1-8053-66d169bbcd7f"
INVALID = {
    "nothing": "",
    "half of it": "{",
    "a number": "1",
    "null": "null",
    "a list": "[]",
    "too deep": "[" * 100_000,
    "a number as id": '{"id": 1}',
    "a word as id": '{"id": "x"}',
    "null as id": '{"id": null}',
    "no id": '{"percent": 1}',
    "no attempt": json.dumps({"id": ID, "percent": 1}),
    "a number as key": '{"key": 1, "ids": null}',
    "no ids": json.dumps({"key": ID}),
    "a number among ids": json.dumps({"key": ID, "ids": [ID, 1]}),
    "unknown field": json.dumps({"id": ID, "attempt": 1, "colour": 2}),
}


@pytest.mark.parametrize("payload", INVALID.values(), ids=INVALID)
@pytest.mark.anyio
async def test_hub__ignores_invalid_payloads(payload):
    hub = ProgressHub()

    with hub.subscribe(UUID(ID)) as subscription:
        hub.receive(payload)

        assert not await subscription.wait(0.02)


@pytest.mark.anyio
async def test_subscription__is_woken_by_reports_of_its_generation_only():
    hub, id = ProgressHub(), uuid4()

    with hub.subscribe(id) as subscription:
        hub.receive(payload_of(uuid4(), Report(1, 5)))
        assert not await subscription.wait(0.02)

        hub.receive(payload_of(id, Report(1, 5)))
        assert [await subscription.wait(0.02), await subscription.wait(0.02)] == [True, False]
        assert not subscription.needs_refresh()


@pytest.mark.parametrize("cause", ["its own change", "a change of many", "a gap"])
@pytest.mark.anyio
async def test_subscription__needs_one_refresh_after_a_possible_change(cause):
    hub, id = ProgressHub(), uuid4()

    with hub.subscribe(id) as subscription:
        if cause == "a gap":
            hub.refresh_all()
        else:
            hub.receive(json.dumps({"id": str(id)} if cause == "its own change" else {}))

        assert await subscription.wait(0.02)
        assert [subscription.needs_refresh(), subscription.needs_refresh()] == [True, False]


@pytest.mark.anyio
async def test_hub__removes_ended_subscriptions():
    hub = ProgressHub()

    with hub.subscribe(uuid4()), hub.subscribe(uuid4()):
        pass

    assert not hub._subscriptions


@pytest.mark.anyio
async def test_subscription__collects_what_was_changed_of_its_keys():
    hub, key, ids = ProgressHub(), uuid4(), {uuid4(), uuid4()}

    with hub.subscribe(None, {key}) as subscription:
        hub.receive(changed(uuid4(), [uuid4()]))
        assert not await subscription.wait(0.02)

        for id in ids:
            hub.receive(changed(key, [id]))
        assert await subscription.wait(0.02)
        assert subscription.needs_refresh()
        assert [subscription.take_changed(), subscription.take_changed()] == [ids, set()]


@pytest.mark.parametrize("cause", ["many", "too many together", "a gap"])
@pytest.mark.anyio
async def test_subscription__has_none_if_the_changed_ones_are_unknown(cause, monkeypatch):
    monkeypatch.setattr(notifications, "MAX_IDS", 2)
    hub, key = ProgressHub(), uuid4()

    with hub.subscribe(None, {key}) as subscription:
        hub.receive(changed(key, [uuid4()]))
        if cause == "a gap":
            hub.refresh_all()
        else:
            hub.receive(changed(key, None if cause == "many" else [uuid4(), uuid4()]))
        hub.receive(changed(key, [uuid4()]))

        assert [subscription.take_changed(), subscription.take_changed()] == [None, set()]


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.anyio
async def test_waiting_client__is_woken_by_a_change_of_its_generation(is_named):
    hub, id = ProgressHub(), uuid4()

    with hub.subscribe(id) as subscription, hub.subscribe(uuid4()) as other:
        hub.receive(changed(uuid4(), [id] if is_named else None))

        assert [await subscription.wait(0.02), subscription.needs_refresh()] == [True, True]
        assert await other.wait(0.02) != is_named
