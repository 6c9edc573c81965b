import json
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, connections, transaction

from generations import tasks
from generations.models import Generation
from generations.progress import notifications
from generations.progress.notifications import ProgressHub
from generations.progress.reports import Report
from generations.renderers.base import Percent
from generations.status import Status
from lockngen.database.direct import direct_params
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def sent(transactional_db):
    """Reads what has been said since it was asked last."""
    with psycopg.connect(**direct_params(connections["default"]), autocommit=True) as session:
        session.execute(f"LISTEN {notifications.CHANNEL}")

        def read(seconds: float = 0.1) -> list[dict]:
            return [json.loads(notify.payload) for notify in session.notifies(timeout=seconds)]

        yield read


@pytest.fixture
def hub(monkeypatch) -> ProgressHub:
    """What this process has heard: nothing yet."""
    monkeypatch.setattr(notifications, "hub", hub := ProgressHub())
    return hub


@pytest.fixture
def listening(transactional_db, monkeypatch, hub):
    """This process listens."""
    listener = notifications.Listener(notifications.CHANNEL, hub.receive, hub.refresh_all)
    monkeypatch.setattr(notifications, "listener", listener)
    yield listener
    listener.stop()


def heard(id, report: Report) -> str:
    return json.dumps({"id": str(id), "attempt": report.attempt, "percent": report.percent})


TRANSITIONS = {
    "start": lambda generation: generation.start(),
    "complete": lambda generation: generation.complete(generation.start(), "a.png"),
    "fail": lambda generation: generation.fail(generation.start(), "It is too large."),
    "requeue": lambda generation: generation.requeue(generation.start(), counts_as_attempt=True),
    "cancel": lambda generation: generation.cancel(),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition__is_notified(make_generation, sent, name):
    generation = make_generation()

    TRANSITIONS[name](generation)

    begins = name in ("complete", "fail", "requeue")
    assert sent() == [{"id": str(generation.id)}] * (1 + begins)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition__that_was_none_is_not_notified(make_generation, sent, name):
    generation = make_generation()
    generation.cancel()
    sent()

    TRANSITIONS[name](generation)

    assert sent() == []


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_change_of_many__is_notified_once(make_generation, sent, end):
    for _ in range(3):
        make_generation()

    getattr(Generation.objects.all(), end)()

    assert sent() == [{}]


def test_deletion__is_notified(make_generation, sent):
    make_generation().delete()

    assert sent() == [{}]


def test_change__is_notified_after_its_commit(make_generation, monkeypatch, transactional_db):
    generation, sent = make_generation(), []
    monkeypatch.setattr(notifications, "_send", sent.append)

    with transaction.atomic():
        generation.cancel()
        assert sent == []

    assert sent == [{"id": str(generation.id)}]


def test_change__that_can_not_be_notified_is_made_all_the_same(make_generation, monkeypatch, transactional_db):
    generation = make_generation()
    notify = notifications.transaction.on_commit

    def lose_the_connection(function):
        notify(lambda: (connection.connection.pgconn.finish(), function()))

    monkeypatch.setattr(notifications.transaction, "on_commit", lose_the_connection)

    assert generation.cancel()
    assert Generation.objects.get().status == Status.CANCELLED


def test_report__is_reported_of_the_attempt_that_counts(make_generation, sent):
    generation = make_generation()
    attempt = generation.start()
    sent()

    assert generation.publish(Report(attempt, 40, 12, 30))

    assert sent() == [{"id": str(generation.id), "attempt": 1, "percent": 40, "step": 12, "steps": 30}]


def test_report__of_an_attempt_that_was_overtaken_is_not_reported(make_generation, sent):
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


def test_render__shows_its_progress_by_the_look_that_it_takes_anyway(make_generation, make_context, sent, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    generation = make_generation()
    progress = tasks._monitor_of(generation, generation.start(), make_context())
    looks, is_current = [], Generation.is_current
    monkeypatch.setattr(Generation, "is_current", lambda *asked: looks.append(percent) or is_current(*asked))
    sent()

    for percent in (0, Percent(10, 3, 30), Percent(10, 3, 30), 100):
        progress(percent)

    assert [(event["percent"], event["step"]) for event in sent()] == [(10, 3), (99, None)]
    assert looks == [0, 10]  # where there was nothing to tell


def test_board__has_the_last_report_of_an_attempt():
    hub, id = ProgressHub(), uuid4()

    for report in (Report(1, 80), Report(2, 5), Report(2, 10)):
        hub.receive(heard(id, report))

    assert hub.last(id, 2) == Report(2, 10)
    assert hub.last(id, 1) is hub.last(id, 3) is hub.last(uuid4(), 2) is None


def test_board__forgets_what_has_changed():
    hub, id = ProgressHub(), uuid4()
    hub.receive(heard(id, Report(1, 80)))

    hub.receive(json.dumps({"id": str(id)}))

    assert hub.last(id, 1) is None


def test_board__keeps_so_many_and_no_more(monkeypatch):
    monkeypatch.setattr(notifications, "MAX_REPORTS", 2)
    hub, ids = ProgressHub(), [uuid4() for _ in range(3)]

    for id in [*ids[:2], ids[0], ids[2]]:
        hub.receive(heard(id, Report(1, 5)))

    assert [bool(hub.last(id, 1)) for id in ids] == [True, False, True]


ID = "01a2060a-d97e-74b1-8053-66d169bbcd7f"
SENSELESS = {
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
    "unknown field": json.dumps({"id": ID, "attempt": 1, "colour": 2}),
}


@pytest.mark.parametrize("payload", SENSELESS.values(), ids=SENSELESS)
def test_board__takes_no_harm_from_what_makes_no_sense(payload):
    hub = ProgressHub()

    with hub.subscribe(UUID(ID)) as subscription:
        hub.receive(payload)

        assert not subscription.wait(0)


def test_watcher__is_woken_by_news_of_its_generation_alone():
    hub, id = ProgressHub(), uuid4()

    with hub.subscribe(id) as subscription:
        hub.receive(heard(uuid4(), Report(1, 5)))
        assert not subscription.wait(0)

        hub.receive(heard(id, Report(1, 5)))
        assert [subscription.wait(0), subscription.wait(0)] == [True, False]
        assert not subscription.needs_refresh()


@pytest.mark.parametrize("what", ["its own change", "a change of many", "a gap"])
def test_watcher__looks_once_after_what_may_have_changed_its_row(what):
    hub, id = ProgressHub(), uuid4()

    with hub.subscribe(id) as subscription:
        if what == "a gap":
            hub.refresh_all()
        else:
            hub.receive(json.dumps({"id": str(id)} if what == "its own change" else {}))

        assert subscription.wait(0)
        assert [subscription.needs_refresh(), subscription.needs_refresh()] == [True, False]


def test_board__keeps_nobody_who_watches_no_more():
    hub = ProgressHub()

    with hub.subscribe(uuid4()), hub.subscribe(uuid4()):
        pass

    assert not hub._subscriptions


def test_progress__is_shown_from_what_is_received(api, make_generation, listening):
    generation = make_generation()
    show = lambda: api.get(f"/api/v1/generations/{generation.id}").json()["progress"]  # noqa: E731

    assert show() == 0
    attempt = generation.start()
    wait_until(lambda: listening.is_listening)
    generation.publish(Report(attempt, 40))
    assert wait_until(show) == 40
    assert api.get("/api/v1/generations").json()["items"][0]["progress"] == 40

    attempt = generation.start()
    assert show() == 0
    generation.publish(Report(attempt, 5))
    assert wait_until(show) == 5

    generation.complete(attempt, "a.png")
    assert show() == 100


@pytest.mark.parametrize("end", ["fail", "cancel", "requeue"])
def test_progress__is_0_unless_it_is_rendered_or_done(api, make_generation, hub, end):
    generation = make_generation()
    attempt = generation.start()
    hub.receive(heard(generation.id, Report(attempt, 40)))
    assert api.get(f"/api/v1/generations/{generation.id}").json()["progress"] == 40

    if end == "cancel":
        generation.cancel()
    else:
        getattr(generation, end)(attempt, *{"fail": ["No."], "requeue": [True]}[end])

    assert api.get(f"/api/v1/generations/{generation.id}").json()["progress"] == 0


@pytest.mark.parametrize("status", ["pending", "completed"])
def test_listener__starts_with_the_first_question_about_what_is_unfinished(make_generation, monkeypatch, status):
    started = []
    monkeypatch.setattr(notifications.listener, "start", lambda: started.append(True))
    generation = make_generation()
    if status == "completed":
        generation.complete(generation.start(), "a.png")

    notifications.percent(generation)

    assert bool(started) == (status == "pending")


def test_listener__listens_again_after_its_session_was_ended(listening, make_generation, hub, sql, caplog):
    generation = make_generation()
    attempt = generation.start()
    listening.start()
    wait_until(lambda: listening.is_listening)
    sessions = f"FROM pg_stat_activity WHERE application_name ~ '{notifications.CHANNEL}$'"

    with hub.subscribe(generation.id) as subscription:
        ((pid, _),) = sql(f"SELECT pid, pg_terminate_backend(pid) {sessions}")
        assert subscription.wait(10)
        assert subscription.needs_refresh()  # something may have been missed

    assert wait_until(lambda: sql(f"SELECT pid {sessions}")) != [(pid,)]
    generation.publish(Report(attempt, 7))
    assert wait_until(lambda: hub.last(generation.id, attempt)) == Report(attempt, 7)
    assert caplog.text.count("Not listening") == 1


def test_listener__is_one_however_often_it_is_started(listening, sql):
    for _ in range(5):
        listening.start()
    wait_until(lambda: listening.is_listening)

    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", f"%{notifications.CHANNEL}") == [
        (1,)
    ]


def test_listener__waits_longer_each_time_for_a_database_that_is_away(monkeypatch, hub):
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
