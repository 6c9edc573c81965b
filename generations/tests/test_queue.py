"""The periodic tasks and the queue's tables."""

from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.db import SessionStore
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.manager import JobManager

from generations import tasks
from generations.models import Generation
from generations.status import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run_task():
    """Run a periodic task."""

    def run_task(task) -> None:
        if task.pass_context:
            async_to_sync(task.func)(SimpleNamespace(app=app), timestamp=0)
        else:
            task.func(timestamp=0)

    return run_task


def assign_to_worker(sql, heartbeat_age: str) -> None:
    ((worker,),) = sql(
        "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s::interval) RETURNING id", heartbeat_age
    )
    sql("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", worker)


def test_rescue_stalled__requeues_the_job_of_a_dead_worker(key, sql, run_task, waiting_jobs):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    assign_to_worker(sql, "1 minute")
    generation.start()

    run_task(tasks.rescue_stalled)

    assert waiting_jobs() == [str(generation.id)]
    assert (generation.start(), generation.status) == (2, Status.PROCESSING)


def test_rescue_stalled__keeps_the_job_of_a_living_worker(key, sql, run_task, waiting_jobs):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")
    assign_to_worker(sql, "10 seconds")

    run_task(tasks.rescue_stalled)

    assert waiting_jobs() == []


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "aborted"])
def test_requeue_stranded__enqueues_generations_without_a_job(key, sql, run_task, waiting_jobs, end):
    lost, other = (Generation.objects.submit(api_key=key, prompt="a lighthouse") for _ in range(2))
    finished = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    finished.cancel()
    sql(
        "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status WHERE queueing_lock <> %s",
        end,
        str(other.id),
    )
    sql("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")

    run_task(tasks.requeue_stranded)
    run_task(tasks.requeue_stranded)

    assert sorted(waiting_jobs()) == sorted([str(lost.id), str(other.id)])


def test_requeue_stranded__skips_young_and_running_generations(key, sql, run_task, waiting_jobs):
    Generation.objects.submit(api_key=key, prompt="being rendered")
    sql("UPDATE procrastinate_jobs SET status = 'doing'")
    sql("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")
    Generation.objects.submit(api_key=key, prompt="young")
    sql("DELETE FROM procrastinate_jobs WHERE status = 'todo'")

    run_task(tasks.requeue_stranded)

    assert waiting_jobs() == []


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "aborted"])
@pytest.mark.parametrize(("age", "left"), [("25 hours", 0), ("23 hours", 1)])
def test_remove_finished_jobs__keeps_those_of_a_day(key, sql, run_task, end, age, left):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")
    sql("UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status", end)
    sql("UPDATE procrastinate_events SET at = now() - %s::interval", age)

    run_task(tasks.remove_finished_jobs)

    assert sql("SELECT count(*) FROM procrastinate_jobs") == [(left,)]


def test_remove_expired_sessions__keeps_the_others(sql, run_task):
    for expiry in (60, -60):  # seconds
        session = SessionStore()
        session.set_expiry(expiry)
        session.create()
    current = {key for (key,) in sql("SELECT session_key FROM django_session WHERE expire_date > now()")}

    run_task(tasks.remove_expired_sessions)

    assert {key for (key,) in sql("SELECT session_key FROM django_session")} == current
    assert len(current) == 1


def test_generation__has_one_waiting_job(key):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    job = app.configure_task("generations.render", queueing_lock=str(generation.id))

    with pytest.raises(AlreadyEnqueued):
        job.defer(generation_id=str(generation.id))


def test_rescue_stalled__continues_after_a_job_that_ended_meanwhile(
    key, sql, run_task, waiting_jobs, monkeypatch, caplog
):
    for _ in range(2):
        Generation.objects.submit(api_key=key, prompt="a lighthouse")
    assign_to_worker(sql, "1 minute")
    retry_job, ended = JobManager.retry_job, []

    async def refuse_the_first(self, job):
        if not ended:
            ended.append(job)
            raise ConnectorException
        await retry_job(self, job)

    monkeypatch.setattr(JobManager, "retry_job", refuse_the_first)

    run_task(tasks.rescue_stalled)

    assert len(waiting_jobs()) == 1
    assert f"Job {ended[0].id} can't be run again." in caplog.text


def test_requeue_stranded__logs_nothing_about_waiting_generations(key, sql, run_task, caplog):
    Generation.objects.submit(api_key=key, prompt="waiting")
    sql("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")

    run_task(tasks.requeue_stranded)

    assert "had no job" not in caplog.text


def test_requeue__keeps_a_waiting_job(key, waiting_jobs):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")

    assert Generation.objects.all().requeue() == [generation.id]

    assert waiting_jobs() == [str(generation.id)]


def test_requeue__is_no_method_of_the_manager():
    assert not hasattr(Generation.objects, "requeue")


def test_periodic_tasks__have_these_schedules():
    registered = app.periodic_registry.periodic_tasks.values()

    assert {periodic.task.name: periodic.cron for periodic in registered} == {
        "generations.rescue_stalled": "* * * * * */15",
        "generations.requeue_stranded": "* * * * *",
        "generations.remove_previews": "* * * * *",
        "generations.rebase_shares": "17 * * * *",
        "generations.remove_finished_jobs": "17 * * * *",
        "generations.purge": "*/10 * * * *",
        "generations.remove_expired_sessions": "27 4 * * *",
        "generations.find_orphans": "47 4 * * 0",
    }


@pytest.mark.parametrize("task", [tasks.rescue_stalled, tasks.requeue_stranded, tasks.remove_finished_jobs])
def test_periodic_task__is_enqueued_once_and_before_the_renders(key, sql, task):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")

    task.defer(timestamp=0)
    with pytest.raises(AlreadyEnqueued):
        task.defer(timestamp=60)

    assert sql("SELECT task_name FROM procrastinate_jobs ORDER BY priority DESC, id") == [
        (task.name,),
        ("generations.render",),
    ]
