import json
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, connections, transaction

from generations import tasks
from generations.models import Generation
from generations.progress import notifications
from generations.progress.notifications import Board
from generations.progress.reports import Report
from generations.renderers.base import Percent
from generations.status import Status
from lockngen.database.direct import direct_params


@pytest.fixture
def said(transactional_db):
    """Reads what has been said since it was asked last."""
    with psycopg.connect(**direct_params(connections["default"]), autocommit=True) as session:
        session.execute(f"LISTEN {notifications.CHANNEL}")

        def read(seconds: float = 0.1) -> list[dict]:
            return [json.loads(notify.payload) for notify in session.notifies(timeout=seconds)]

        yield read


@pytest.fixture
def board(monkeypatch) -> Board:
    """What this process has heard: nothing yet."""
    monkeypatch.setattr(notifications, "board", board := Board())
    return board


@pytest.fixture
def listening(transactional_db, monkeypatch, board):
    """This process listens."""
    listener = notifications.Listener(notifications.CHANNEL, board.hear, board.miss)
    monkeypatch.setattr(notifications, "listener", listener)
    yield listener
    listener.stop()


def eventually(condition: Callable[[], object], seconds: float = 10) -> object:
    give_up_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    return found


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
def test_transition__is_announced(make_generation, said, name):
    generation = make_generation()

    TRANSITIONS[name](generation)

    begins = name in ("complete", "fail", "requeue")
    assert said() == [{"id": str(generation.id)}] * (1 + begins)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition__that_was_none_is_not_announced(make_generation, said, name):
    generation = make_generation()
    generation.cancel()
    said()

    TRANSITIONS[name](generation)

    assert said() == []


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_change_of_many__is_announced_once(make_generation, said, end):
    for _ in range(3):
        make_generation()

    getattr(Generation.objects.all(), end)()

    assert said() == [{}]


def test_deletion__is_announced(make_generation, said):
    make_generation().delete()

    assert said() == [{}]


def test_change__is_announced_after_its_commit(make_generation, monkeypatch, transactional_db):
    generation, said = make_generation(), []
    monkeypatch.setattr(notifications, "_say", said.append)

    with transaction.atomic():
        generation.cancel()
        assert said == []

    assert said == [{"id": str(generation.id)}]


def test_change__that_can_not_be_announced_is_made_all_the_same(make_generation, monkeypatch, transactional_db):
    generation = make_generation()
    announce = notifications.transaction.on_commit

    def lose_the_connection(function):
        announce(lambda: (connection.connection.pgconn.finish(), function()))

    monkeypatch.setattr(notifications.transaction, "on_commit", lose_the_connection)

    assert generation.cancel()
    assert Generation.objects.get().status == Status.CANCELLED


def test_report__is_told_of_the_attempt_that_counts(make_generation, said):
    generation = make_generation()
    attempt = generation.start()
    said()

    assert generation.tell(Report(attempt, 40, 12, 30))

    assert said() == [{"id": str(generation.id), "attempt": 1, "percent": 40, "step": 12, "steps": 30}]


def test_report__of_an_attempt_that_was_overtaken_is_not_told(make_generation, said):
    generation = make_generation()
    attempt = generation.start()
    generation.start()
    said()

    assert not generation.tell(Report(attempt, 40))

    assert said() == []


def test_report__writes_no_row(make_generation, sql, said):
    generation = make_generation()
    attempt = generation.start()
    version = "SELECT ctid, xmin::text, xmax::text FROM generations_generation"
    written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"
    before = sql(version)

    with transaction.atomic():
        counted = sql(written)
        generation.tell(Report(attempt, 40))
        assert sql(written) == counted

    assert sql(version) == before


def test_render__tells_its_progress_by_the_look_that_it_takes_anyway(make_generation, make_context, said, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    generation = make_generation()
    progress = tasks._monitor_of(generation, generation.start(), make_context())
    looks, is_current = [], Generation.is_current
    monkeypatch.setattr(Generation, "is_current", lambda *asked: looks.append(percent) or is_current(*asked))
    said()

    for percent in (0, Percent(10, 3, 30), Percent(10, 3, 30), 100):
        progress(percent)

    assert [(event["percent"], event["step"]) for event in said()] == [(10, 3), (99, None)]
    assert looks == [0, 10]  # where there was nothing to tell


def test_board__knows_the_last_report_of_an_attempt():
    board, id = Board(), uuid4()

    for report in (Report(1, 80), Report(2, 5), Report(2, 10)):
        board.hear(heard(id, report))

    assert board.last(id, 2) == Report(2, 10)
    assert board.last(id, 1) is board.last(id, 3) is board.last(uuid4(), 2) is None


def test_board__forgets_what_has_changed():
    board, id = Board(), uuid4()
    board.hear(heard(id, Report(1, 80)))

    board.hear(json.dumps({"id": str(id)}))

    assert board.last(id, 1) is None


def test_board__keeps_so_many_and_no_more(monkeypatch):
    monkeypatch.setattr(notifications, "MOST_REPORTS", 2)
    board, ids = Board(), [uuid4() for _ in range(3)]

    for id in [*ids[:2], ids[0], ids[2]]:
        board.hear(heard(id, Report(1, 5)))

    assert [bool(board.last(id, 1)) for id in ids] == [True, False, True]


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
    board = Board()

    with board.watching(UUID(ID)) as watcher:
        board.hear(payload)

        assert not watcher.wait(0)


def test_watcher__is_woken_by_news_of_its_generation_alone():
    board, id = Board(), uuid4()

    with board.watching(id) as watcher:
        board.hear(heard(uuid4(), Report(1, 5)))
        assert not watcher.wait(0)

        board.hear(heard(id, Report(1, 5)))
        assert [watcher.wait(0), watcher.wait(0)] == [True, False]
        assert not watcher.must_look()


@pytest.mark.parametrize("what", ["its own change", "a change of many", "a gap"])
def test_watcher__looks_once_after_what_may_have_changed_its_row(what):
    board, id = Board(), uuid4()

    with board.watching(id) as watcher:
        if what == "a gap":
            board.miss()
        else:
            board.hear(json.dumps({"id": str(id)} if what == "its own change" else {}))

        assert watcher.wait(0)
        assert [watcher.must_look(), watcher.must_look()] == [True, False]


def test_board__keeps_nobody_who_watches_no_more():
    board = Board()

    with board.watching(uuid4()), board.watching(uuid4()):
        pass

    assert not board._watchers


def test_progress__is_shown_from_what_is_heard(api, make_generation, listening):
    generation = make_generation()
    show = lambda: api.get(f"/api/v1/generations/{generation.id}").json()["progress"]  # noqa: E731

    assert show() == 0
    attempt = generation.start()
    eventually(lambda: listening.is_listening)
    generation.tell(Report(attempt, 40))
    assert eventually(show) == 40
    assert api.get("/api/v1/generations").json()["items"][0]["progress"] == 40

    attempt = generation.start()
    assert show() == 0
    generation.tell(Report(attempt, 5))
    assert eventually(show) == 5

    generation.complete(attempt, "a.png")
    assert show() == 100


@pytest.mark.parametrize("end", ["fail", "cancel", "requeue"])
def test_progress__is_0_unless_it_is_rendered_or_done(api, make_generation, board, end):
    generation = make_generation()
    attempt = generation.start()
    board.hear(heard(generation.id, Report(attempt, 40)))
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


def test_listener__listens_again_after_its_session_was_ended(listening, make_generation, board, sql, caplog):
    generation = make_generation()
    attempt = generation.start()
    listening.start()
    eventually(lambda: listening.is_listening)
    sessions = f"FROM pg_stat_activity WHERE application_name ~ '{notifications.CHANNEL}$'"

    with board.watching(generation.id) as watcher:
        ((pid, _),) = sql(f"SELECT pid, pg_terminate_backend(pid) {sessions}")
        assert watcher.wait(10)
        assert watcher.must_look()  # something may have been missed

    assert eventually(lambda: sql(f"SELECT pid {sessions}")) != [(pid,)]
    generation.tell(Report(attempt, 7))
    assert eventually(lambda: board.last(generation.id, attempt)) == Report(attempt, 7)
    assert caplog.text.count("Not listening") == 1


def test_listener__is_one_however_often_it_is_started(listening, sql):
    for _ in range(5):
        listening.start()
    eventually(lambda: listening.is_listening)

    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", f"%{notifications.CHANNEL}") == [
        (1,)
    ]


def test_listener__waits_longer_each_time_for_a_database_that_is_away(monkeypatch, board):
    listener, pauses = notifications.Listener(notifications.CHANNEL, board.hear, board.miss), []

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
