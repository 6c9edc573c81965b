"""What is published by NOTIFY, and when."""

import json
from itertools import takewhile

import psycopg
import pytest
from django.db import connection, connections, transaction

from generations import tasks
from generations.models import Generation
from generations.progress import notifications
from generations.progress.reports import Report
from generations.renderers.base import Percent
from generations.status import Status
from lockngen.database.direct import direct_params


@pytest.fixture
def sent(transactional_db, sql):
    """Returns the notifications since its last call."""
    with psycopg.connect(**direct_params(connections["default"]), autocommit=True) as session:
        session.execute(f"LISTEN {notifications.CHANNEL}")

        def read() -> list[dict]:
            sql("SELECT pg_notify(%s, 'end')", notifications.CHANNEL)
            payloads = (notify.payload for notify in session.notifies(timeout=10))
            return [json.loads(payload) for payload in takewhile(lambda payload: payload != "end", payloads)]

        yield read


TRANSITIONS = {
    "start": lambda generation: generation.start(),
    "complete": lambda generation: generation.complete(generation.start(), "a.png"),
    "fail": lambda generation: generation.fail(generation.start(), "It is too large."),
    "requeue": lambda generation: generation.requeue(generation.start(), counts_as_attempt=True),
    "cancel": lambda generation: generation.cancel(),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition__is_published(make_generation, sent, name):
    generation = make_generation()

    TRANSITIONS[name](generation)

    begins = name in ("complete", "fail", "requeue")
    assert sent() == [{"id": str(generation.id)}] * (1 + begins)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_refused_transition__is_not_published(make_generation, sent, name):
    generation = make_generation()
    generation.cancel()
    sent()

    TRANSITIONS[name](generation)

    assert sent() == []


def test_change_of_many__is_published_once(make_generation, sent):
    for _ in range(3):
        make_generation()

    Generation.objects.all().cancel()

    assert sent() == [{}]


CHANGES = {
    "delete": lambda rows: rows.live().delete(),
    "restore": lambda rows: rows.restore(),
    "remove": lambda rows: rows.hard_delete(),
    "label": lambda rows: rows.add_labels({"a": "b"}, at_most=1),
    "delete one": lambda rows: rows.get().delete(),
    "restore one": lambda rows: rows.get().restore(),
    "label one": lambda rows: rows.get().set_labels({"a": "b"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change__is_published_with_its_key(make_finished, sent, name):
    generation = make_finished(deleted_days=1 if "restore" in name else None)
    sent()

    CHANGES[name](Generation.all_objects.all())

    assert sent() == [{"key": str(generation.api_key_id), "ids": [str(generation.id)]}]


def test_change__that_applies_to_nothing_is_not_published(make_finished, sent):
    make_finished()
    sent()

    assert Generation.all_objects.all().restore() == 0

    assert sent() == []


def test_change__is_published_to_each_key_without_too_many_ids(make_generation, make_key, sent, monkeypatch):
    monkeypatch.setattr(notifications, "MAX_IDS", 1)
    first, second = make_generation(), make_generation(api_key=make_key())
    make_generation()

    Generation.objects.all().delete()

    keys = {str(first.api_key_id): None, str(second.api_key_id): [str(second.id)]}
    assert {payload["key"]: payload["ids"] for payload in sent()} == keys


def test_largest_change__fits_a_notification(make_key, make_generation, sent):
    ids = [make_generation().id for _ in range(notifications.MAX_IDS)]

    Generation.objects.all().delete()

    assert sorted(sent()[0]["ids"]) == sorted(map(str, ids))


def test_change__is_published_after_its_commit(make_generation, monkeypatch, transactional_db):
    generation, sent = make_generation(), []
    monkeypatch.setattr(notifications, "_send", sent.append)

    with transaction.atomic():
        generation.cancel()
        assert sent == []

    assert sent == [{"id": str(generation.id)}]


def test_change__that_can_not_be_published_is_committed(make_generation, monkeypatch, transactional_db):
    generation = make_generation()
    notify = notifications.transaction.on_commit

    def lose_the_connection(function):
        notify(lambda: (connection.connection.pgconn.finish(), function()))

    monkeypatch.setattr(notifications.transaction, "on_commit", lose_the_connection)

    assert generation.cancel()
    assert Generation.objects.get().status == Status.CANCELLED


def test_report__of_the_current_attempt_is_published(make_generation, sent):
    generation = make_generation()
    attempt = generation.start()
    sent()

    assert generation.publish(Report(attempt, 40, 12, 30))

    report = {"attempt": 1, "percent": 40, "step": 12, "steps": 30, "preview": None}
    assert sent() == [{"id": str(generation.id), **report}]


def test_report__of_a_superseded_attempt_is_not_published(make_generation, sent):
    generation = make_generation()
    attempt = generation.start()
    generation.start()
    sent()

    assert not generation.publish(Report(attempt, 40))

    assert sent() == []


def test_report__writes_no_row(make_generation, sql, sent):
    generation = make_generation()
    attempt = generation.start()
    version = "SELECT ctid, xmin::text, xmax::text FROM generations_generation"
    written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"
    before = sql(version)

    with transaction.atomic():
        counted = sql(written)
        generation.publish(Report(attempt, 40))
        assert sql(written) == counted

    assert sql(version) == before


def test_render__publishes_its_progress_in_the_check_of_its_attempt(make_generation, make_context, sent, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    generation = make_generation()
    progress = tasks._monitor_of(generation, generation.start(), make_context())
    checks, is_current = [], Generation.is_current
    monkeypatch.setattr(Generation, "is_current", lambda *arguments: checks.append(percent) or is_current(*arguments))
    sent()

    for percent in (0, Percent(10, step=3, steps=30), Percent(10, step=3, steps=30), 100):
        progress(percent)

    assert [(event["percent"], event["step"]) for event in sent()] == [(10, 3), (99, None)]
    assert checks == [0, 10]  # where there was nothing to publish
