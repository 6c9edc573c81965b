"""The facts of the status page."""

import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from generations import monitoring
from generations.images.pending_deletion import PendingDeletion
from generations.status import Status
from generations.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_ended(make_generation):
    def make(minutes: float, render_seconds: float = 2, **fields) -> None:
        fields = {"status": Status.COMPLETED, "image_path": "a.png", **fields}
        end = timezone.now() - timedelta(minutes=minutes)
        make_generation(completed_at=end, started_at=end - timedelta(seconds=render_seconds), **fields)

    return make


def test_workers__are_reported_with_their_jobs(make_worker, make_generation):
    first, second = make_generation(), make_generation()
    busy, idle = make_worker(1, 3, first, second), make_worker(29)

    workers = monitoring.workers()

    assert [worker["id"] for worker in workers] == [busy, idle]
    assert [worker["is_alive"] for worker in workers] == [True, True]
    assert [job["generation"] for job in workers[0]["jobs"]] == [str(first.id), str(second.id)]
    assert 3 <= workers[0]["jobs"][0]["seconds"] < 10
    assert workers[1]["jobs"] == []


def test_workers__without_a_recent_heartbeat_are_not_alive(make_worker, make_generation):
    make_worker(31, 40, make_generation())

    (worker,) = monitoring.workers()

    assert not worker["is_alive"]
    assert 31 <= worker["silent_seconds"] < 40
    assert len(worker["jobs"]) == 1


def test_workers__that_were_removed_are_reported_with_their_jobs(make_worker, make_generation, sql):
    generation = make_generation()
    worker = make_worker(100, 90, generation)
    sql("DELETE FROM procrastinate_workers WHERE id = %s", worker)

    (gone,) = monitoring.workers()

    assert (gone["id"], gone["is_alive"], gone["jobs"][0]["generation"]) == (None, False, str(generation.id))


def test_workers__name_the_task_of_another_job(make_worker, make_generation):
    make_worker(1, 3, make_generation(), task="generations.purge")

    job = monitoring.workers()[0]["jobs"][0]

    assert (job["task"], job["generation"]) == ("generations.purge", None)


def test_queue__is_reported_by_key_and_by_model(make_generation, make_key):
    ann, ben = make_key(name="Ann", prefix="lg_live_ann"), make_key(name="Ben", prefix="lg_live_ben", priority=3)
    for model in ("sdxl", "sdxl", "flux"):
        make_generation(api_key=ann, model=model)
    make_generation(api_key=ben, model="flux", created_at=Now() - timedelta(minutes=5))
    make_generation(api_key=ben, model="flux").start()
    make_generation(api_key=ben, model="old").cancel()

    queue = monitoring.queue()

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


def test_queue__gives_no_share_to_a_key_without_waiting_generations(make_generation, make_key):
    make_generation(api_key=make_key(name="Ann")).start()
    make_generation(api_key=make_key(name="Ben"))

    assert {key["key"][:3]: key["share_percent"] for key in monitoring.queue()["keys"]} == {"Ann": 0.0, "Ben": 100.0}


def test_queue__names_a_deleted_key(make_generation, make_key):
    key = make_key(name="Ann")
    make_generation(api_key=key)
    key.delete()

    assert monitoring.queue()["keys"][0]["key"].startswith("Ann")


def test_queue__names_the_largest_and_counts_the_rest(make_generation, make_key, monkeypatch):
    monkeypatch.setattr(monitoring, "MAX_ROWS", 2)
    for number in range(4):
        key = make_key(name=f"Key {number}")
        for _ in range(number + 1):
            make_generation(api_key=key, model=f"model {number}")

    queue = monitoring.queue()

    assert [key["key"][:5] for key in queue["keys"]] == ["Key 3", "Key 2"]
    assert [model["model"] for model in queue["models"]] == ["model 3", "model 2"]
    assert (queue["keys_left_off"], queue["models_left_off"], queue["waiting"]) == (2, 2, 10)


def test_queue__may_be_empty():
    queue = monitoring.queue()

    assert (queue["waiting"], queue["oldest_waiting_seconds"], queue["keys"], queue["models"]) == (0, None, [], [])


def test_throughput__counts_the_last_minutes(make_ended):
    for minutes, seconds in ((0.5, 1), (4, 2), (14, 9), (16, 100)):
        make_ended(minutes, seconds)
    make_ended(0.5, 100, status=Status.FAILED, error_message="No.", image_path=None)
    make_ended(2, 100, status=Status.CANCELLED, image_path=None)

    throughput = monitoring.throughput()

    assert throughput["lately"] == [
        {"minutes": 1, "completed": 1, "failed": 1, "cancelled": 0},
        {"minutes": 5, "completed": 2, "failed": 1, "cancelled": 1},
        {"minutes": 15, "completed": 3, "failed": 1, "cancelled": 1},
    ]
    assert throughput["median_render_seconds"] == 2.0


def test_throughput__counts_deleted_generations_and_may_be_empty(make_ended):
    assert monitoring.throughput()["median_render_seconds"] is None
    make_ended(0.5, is_deleted=True, deleted_at=timezone.now())

    assert monitoring.throughput()["lately"][0]["completed"] == 1


def test_database_and_pool__are_reported():
    facts = monitoring.gather()

    assert {table["table"] for table in facts["database"]["tables"]} == set(monitoring.TABLES)
    assert facts["database"]["bytes"] > sum(table["bytes"] for table in facts["database"]["tables"]) > 0
    assert 0 < facts["database"]["connections"] <= facts["database"]["max_connections"]
    assert 0 < facts["pool"]["size"] <= facts["pool"]["max"]


def test_retention__is_reported_with_pending_deletions(settings):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = 30, 0
    PendingDeletion.objects.create(path="a.png")

    assert monitoring.retention() == {
        "finished_days": 30,
        "deleted_days": 0,
        "webhooks_days": 30,
        "files_to_remove": 1,
    }


def test_webhooks__are_counted_by_state(make_webhook_generation):
    for state, attempts in [(0, 0), (0, 2), (1, 1), (2, 12)]:
        generation = make_webhook_generation(webhook_events=["completed"])
        generation.cancel()
        end = {"next_attempt_at": None, "ended_at": Now()} if state else {}
        generation.webhook_deliveries.update(state=state, attempts=attempts, **end)
    WebhookDelivery.objects.filter(attempts=2).update(created_at=Now() - timedelta(hours=1))

    facts = monitoring.webhooks()

    assert facts.pop("oldest_pending_seconds") == pytest.approx(3600, abs=60)
    assert facts == {"pending": 2, "retried": 1, "failed": 1}


def test_gather__needs_ten_queries_at_most(make_generation, make_key, make_worker, django_assert_max_num_queries):
    for number in range(8):
        generation = make_generation(api_key=make_key(), model=f"model {number}")
        generation.start()
        make_worker(1, 1, generation)
        make_generation(api_key=make_key())

    with django_assert_max_num_queries(10):
        monitoring.gather()


def test_gather__is_fast_with_a_long_queue(key, sql):
    sql(
        """INSERT INTO generations_generation (id, api_key_id, prompt, model, created_at)
           SELECT gen_random_uuid(), %s, 'p', 'model ' || n %% 3, now() FROM generate_series(1, 20000) n""",
        key.pk,
    )
    sql("ANALYZE generations_generation")

    started = time.perf_counter()
    facts = monitoring.gather()

    assert facts["queue"]["waiting"] == 20_000
    assert time.perf_counter() - started < 2  # far less where nothing else runs
