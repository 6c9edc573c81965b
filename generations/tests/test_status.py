"""What `manage.py status` and the admin's page tell of what goes on."""

import json
import re
import signal
import subprocess
import threading
import time
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from generations import overview
from generations.discards import DiscardedFile
from generations.models import Generation
from generations.renderers import states
from generations.status import Status
from generations.templatetags.durations import duration
from generations.tests.processes import manage

pytestmark = pytest.mark.django_db
PAGE = "/admin/status/"


@pytest.fixture
def sql():
    def sql(statement: str, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    return sql


@pytest.fixture
def make_worker(sql):
    """A worker that was last heard of so many seconds ago, and the jobs it has in hand for so long."""

    def make(silent: float = 1, seconds: float = 3, *generations: Generation, task: str = "generations.render") -> int:
        ((worker,),) = sql(
            """INSERT INTO procrastinate_workers (last_heartbeat)
               VALUES (now() - make_interval(secs => %s)) RETURNING id""",
            silent,
        )
        for generation in generations:
            ((job,),) = sql(
                """INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)
                   VALUES ('render', %s, %s, 'doing', %s) RETURNING id""",
                task,
                json.dumps({"generation_id": str(generation.id)}),
                worker,
            )
            sql("UPDATE procrastinate_events SET at = now() - interval '1 hour' WHERE job_id = %s", job)
            sql(
                """INSERT INTO procrastinate_events (job_id, type, at) SELECT %s, 'started', now() - before
                   FROM unnest(ARRAY[interval '1 hour', make_interval(secs => %s)]) before""",
                job,
                seconds,
            )
        return worker

    return make


@pytest.fixture
def make_ended(make_generation):
    def make(minutes: float, render_seconds: float = 2, **fields) -> None:
        fields = {"status": Status.COMPLETED, "image_path": "a.png", **fields}
        end = timezone.now() - timedelta(minutes=minutes)
        make_generation(completed_at=end, started_at=end - timedelta(seconds=render_seconds), **fields)

    return make


@pytest.fixture
def renderer(monkeypatch):
    """Let the renderer be one that tells its state by this function."""

    def use(state=None) -> None:
        monkeypatch.setattr(states, "_renderer", lambda url: SimpleNamespace(**({"state": state} if state else {})))

    return use


def test_workers__are_told_with_what_they_do_and_for_how_long(make_worker, make_generation):
    first, second = make_generation(), make_generation()
    busy, idle = make_worker(1, 3, first, second), make_worker(29)

    told = overview.workers()

    assert [worker["id"] for worker in told] == [busy, idle]
    assert [worker["is_alive"] for worker in told] == [True, True]
    assert [job["generation"] for job in told[0]["jobs"]] == [str(first.id), str(second.id)]
    assert 3 <= told[0]["jobs"][0]["seconds"] < 10
    assert told[1]["jobs"] == []


def test_workers__that_are_silent_are_not_alive(make_worker, make_generation):
    make_worker(31, 40, make_generation())

    (worker,) = overview.workers()

    assert not worker["is_alive"]
    assert 31 <= worker["silent_seconds"] < 40
    assert len(worker["jobs"]) == 1


def test_workers__that_are_gone_leave_their_jobs_to_be_seen(make_worker, make_generation, sql):
    generation = make_generation()
    worker = make_worker(100, 90, generation)
    sql("DELETE FROM procrastinate_workers WHERE id = %s", worker)

    (gone,) = overview.workers()

    assert (gone["id"], gone["is_alive"], gone["jobs"][0]["generation"]) == (None, False, str(generation.id))


def test_workers__name_a_task_that_is_no_render(make_worker, make_generation):
    make_worker(1, 3, make_generation(), task="generations.purge")

    job = overview.workers()[0]["jobs"][0]

    assert (job["task"], job["generation"]) == ("generations.purge", None)


def test_queue__is_told_by_key_and_by_model(make_generation, make_key):
    ann, ben = make_key(name="Ann", prefix="lg_live_ann"), make_key(name="Ben", prefix="lg_live_ben", priority=3)
    for model in ("sdxl", "sdxl", "flux"):
        make_generation(api_key=ann, model=model)
    make_generation(api_key=ben, model="flux", created_at=Now() - timedelta(minutes=5))
    make_generation(api_key=ben, model="flux").start()
    make_generation(api_key=ben, model="old").cancel()

    queue = overview.queue()

    assert (queue["waiting"], queue["running"]) == (4, 1)
    assert 300 <= queue["oldest_waiting_seconds"] < 310
    assert queue["keys"] == [
        {"key": "Ann (lg_live_ann…)", "waiting": 3, "running": 0, "share_percent": 25.0},
        {"key": "Ben (lg_live_ben…)", "waiting": 1, "running": 1, "share_percent": 75.0},
    ]
    assert queue["models"] == [
        {"model": "flux", "waiting": 2, "running": 1},
        {"model": "sdxl", "waiting": 2, "running": 0},
    ]


def test_queue__gives_no_share_to_a_key_that_has_nothing_waiting(make_generation, make_key):
    make_generation(api_key=make_key(name="Ann")).start()
    make_generation(api_key=make_key(name="Ben"))

    assert {key["key"][:3]: key["share_percent"] for key in overview.queue()["keys"]} == {"Ann": 0.0, "Ben": 100.0}


def test_queue__names_a_key_that_was_deleted_meanwhile(make_generation, make_key):
    key = make_key(name="Ann")
    make_generation(api_key=key)
    key.delete()

    assert overview.queue()["keys"][0]["key"].startswith("Ann")


def test_queue__names_those_with_the_most_and_counts_the_rest(make_generation, make_key, monkeypatch):
    monkeypatch.setattr(overview, "MOST_ROWS", 2)
    for number in range(4):
        key = make_key(name=f"Key {number}")
        for _ in range(number + 1):
            make_generation(api_key=key, model=f"model {number}")

    queue = overview.queue()

    assert [key["key"][:5] for key in queue["keys"]] == ["Key 3", "Key 2"]
    assert [model["model"] for model in queue["models"]] == ["model 3", "model 2"]
    assert (queue["keys_left_off"], queue["models_left_off"], queue["waiting"]) == (2, 2, 10)


def test_queue__may_be_empty():
    queue = overview.queue()

    assert (queue["waiting"], queue["oldest_waiting_seconds"], queue["keys"], queue["models"]) == (0, None, [], [])


def test_throughput__counts_what_ended_in_the_last_minutes(make_ended):
    for minutes, seconds in ((0.5, 1), (4, 2), (14, 9), (16, 100)):
        make_ended(minutes, seconds)
    make_ended(0.5, 100, status=Status.FAILED, error_message="No.", image_path=None)
    make_ended(2, 100, status=Status.CANCELLED, image_path=None)

    throughput = overview.throughput()

    assert throughput["lately"] == [
        {"minutes": 1, "completed": 1, "failed": 1, "cancelled": 0},
        {"minutes": 5, "completed": 2, "failed": 1, "cancelled": 1},
        {"minutes": 15, "completed": 3, "failed": 1, "cancelled": 1},
    ]
    assert throughput["median_render_seconds"] == 2.0


def test_throughput__counts_deleted_ones_and_may_be_nothing(make_ended):
    assert overview.throughput()["median_render_seconds"] is None
    make_ended(0.5, is_deleted=True, deleted_at=timezone.now())

    assert overview.throughput()["lately"][0]["completed"] == 1


def test_database_and_pool__are_told():
    facts = overview.gather()

    assert {table["table"] for table in facts["database"]["tables"]} == set(overview.TABLES)
    assert facts["database"]["bytes"] > sum(table["bytes"] for table in facts["database"]["tables"]) > 0
    assert 0 < facts["database"]["connections"] <= facts["database"]["max_connections"]
    assert 0 < facts["pool"]["size"] <= facts["pool"]["max"]


def test_retention__is_told_with_the_files_that_are_still_to_go(settings):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = 30, 0
    DiscardedFile.objects.create(path="a.png")

    assert overview.retention() == {
        "finished_days": 30,
        "deleted_days": 0,
        "files_to_remove": 1,
    }


def test_gather__asks_nine_times_at_most(make_generation, make_key, make_worker, django_assert_max_num_queries):
    for number in range(8):
        generation = make_generation(api_key=make_key(), model=f"model {number}")
        generation.start()
        make_worker(1, 1, generation)
        make_generation(api_key=make_key())

    with django_assert_max_num_queries(9):
        overview.gather()


def test_gather__is_quick_with_a_long_queue(key, sql):
    sql(
        """INSERT INTO generations_generation (id, api_key_id, prompt, model, created_at)
           SELECT gen_random_uuid(), %s, 'p', 'model ' || n %% 3, now() FROM generate_series(1, 20000) n""",
        key.pk,
    )
    sql("ANALYZE generations_generation")

    started = time.perf_counter()
    facts = overview.gather()

    assert facts["queue"]["waiting"] == 20_000
    assert time.perf_counter() - started < 2  # 30 ms where nothing else runs


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, {"state": "ok"}),
        (lambda: "busy", {"state": "busy"}),
        (lambda: {"state": "loading", "vram_mb": 24576}, {"state": "loading", "vram_mb": 24576}),
        (lambda: {"queue": 3}, {"state": "ok", "queue": 3}),
        (Mock(side_effect=OSError("no\nroute")), {"state": "down", "reason": "OSError: no route"}),
    ],
    ids=["no way to tell", "a word", "a dict", "figures alone", "an error"],
)
def test_renderer__tells_its_state(renderer, settings, state, told):
    settings.RENDERER_URL = "sketch:?seconds=3"
    renderer(state)

    assert states.states() == [{"renderer": "sketch:", **told}]


def test_renderer__that_does_not_answer_is_not_waited_for(renderer):
    answered = threading.Event()
    renderer(lambda: answered.wait(30) and "ok")

    started = time.monotonic()
    (told,) = states.states(timeout=0.1)
    answered.set()

    assert told["state"] == "no answer"
    assert time.monotonic() - started < 5


def test_renderer__is_named_without_its_secrets(renderer, settings):
    settings.RENDERER_URL = "comfyui://ann:secret@gpu-1:8188/?token=secret"
    renderer(Mock(side_effect=OSError("http://ann:secret@gpu-1:8188 refused")))

    (told,) = states.states()

    assert told == {"renderer": "comfyui://gpu-1:8188", "state": "down", "reason": "OSError: http://gpu-1:8188 refused"}


def run(*arguments: str) -> str:
    printed = StringIO()
    call_command("status", *arguments, stdout=printed)
    return printed.getvalue()


def test_command__tells_it_as_text(make_generation, make_key, make_worker):
    generation = make_generation(api_key=make_key(name="Ann"), model="flux")
    worker = make_worker(1, 3, generation)
    generation.start()
    make_generation(api_key=generation.api_key, model="flux")

    text = run()

    assert "sketch:   ok" in text
    assert f"{worker}" in text
    assert f"renders {generation.id}" in text
    assert "1 waiting, the oldest for" in text
    assert " 100%" in text
    assert "Kept: finished for ever, deleted for ever." in text


def test_command__tells_of_workers_that_are_silent_or_gone(make_worker, make_generation, sql):
    make_worker(75)
    gone = make_worker(100, 20, make_generation())
    sql("DELETE FROM procrastinate_workers WHERE id = %s", gone)

    text = run()

    assert re.search(r"\d+ +silent for 7\d s +nothing +–", text)
    assert re.search(r"– +gone +renders [0-9a-f-]{36} +2\d s", text)


def test_command__tells_that_there_is_nothing():
    text = run()

    assert "worker  state  does  for\nnone" in text
    assert "0 waiting; 0 running" in text


def test_command__tells_it_as_json():
    facts = json.loads(run("--json"))

    assert set(facts) == {"at", "renderers", "workers", "queue", "throughput", "database", "pool", "retention"}


def test_command__says_in_one_line_that_the_database_is_away(monkeypatch):
    monkeypatch.setattr(overview, "gather", Mock(side_effect=OperationalError("no\nconnection")))

    with pytest.raises(CommandError, match=r"The database can't be asked: no connection$"):
        run()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "often"])
def test_command__names_a_pause_that_can_not_be(seconds):
    with pytest.raises(CommandError, match=r"--watch.*a number of seconds"):
        run(f"--watch={seconds}")


def test_watch__goes_on_after_an_outage_and_ends_with_ctrl_c(monkeypatch, capsys):
    answers = [overview.gather(), OperationalError("no connection"), overview.gather(), KeyboardInterrupt]
    monkeypatch.setattr(overview, "gather", Mock(side_effect=answers))

    text = run("--watch", "0.1", "--json")

    assert [json.loads(line)["queue"]["waiting"] for line in text.splitlines()] == [0, 0]
    assert "can't be asked: no connection" in capsys.readouterr().err


def test_watch__as_a_process_ends_with_ctrl_c_and_no_complaint():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with manage("status", "--watch=0.1", "--json", **pipes) as watch:
        json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=30)

    assert (watch.returncode, errors.strip()) == (0, "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0.0 s"), (4.24, "4.2 s"), (75, "75 s"), (720, "12 min"), (20_000, "6 h"), (300_000, "3 days")],
)
def test_duration__is_said_as_a_person_does(seconds, said):
    assert duration(seconds) == said


def test_page__shows_the_same(admin_client, make_generation, make_key, make_worker):
    generation = make_generation(api_key=make_key(name="<Ann>"), model="flux")
    make_worker(1, 3, generation)
    make_worker(100)
    generation.start()

    page = admin_client.get(PAGE)

    text = page.content.decode()
    assert page.status_code == 200
    assert set(page.context["facts"]) == set(json.loads(run("--json")))
    assert f'<a href="/admin/generations/generation/{generation.id}/change/">' in text
    assert "&lt;Ann&gt;" in text
    assert "<td>1</td>" in text
    assert text.count('class="ill">silent') == 1


def test_page__renews_itself_without_a_script_of_its_own(admin_client):
    text = admin_client.get(PAGE).content.decode()

    assert '<meta http-equiv="refresh" content="5">' in text
    assert "no-store" in admin_client.get(PAGE)["Cache-Control"]
    assert "<script>" not in text


def test_page__is_linked_from_the_admin_s_index(admin_client):
    assert f'<a href="{PAGE}">Status</a>' in admin_client.get("/admin/").content.decode()


@pytest.mark.parametrize("fields", [{"is_staff": False}, {"is_staff": True, "is_active": False}, None])
def test_page__is_for_staff_alone(client, fields):
    if fields:
        client.force_login(User.objects.create(username="ben", **fields))

    answer = client.get(PAGE)

    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={PAGE}")


def test_page__opens_for_staff_without_further_rights(client):
    client.force_login(User.objects.create(username="ann", is_staff=True))

    assert client.get(PAGE).status_code == 200
