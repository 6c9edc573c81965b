"""What the periodic tasks do to the queue, in its own tables."""

from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.manager import JobManager

from generations import tasks
from generations.models import Generation
from generations.status import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def queue():
    """SQL on the queue's tables."""

    def run(statement: str, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture
def work():
    """Run a periodic task."""

    def work(task) -> None:
        if task.pass_context:
            async_to_sync(task.func)(SimpleNamespace(app=app), timestamp=0)
        else:
            task.func(timestamp=0)

    return work


def let_a_worker_take_it(queue, heartbeat_age: str) -> None:
    ((worker,),) = queue(
        "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s::interval) RETURNING id", heartbeat_age
    )
    queue("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", worker)


def test_rescue_stalled__runs_the_job_of_a_dead_worker_again(key, queue, work, waiting_jobs):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    let_a_worker_take_it(queue, "1 minute")
    generation.start()

    work(tasks.rescue_stalled)

    assert waiting_jobs() == [str(generation.id)]
    assert (generation.start(), generation.status) == (2, Status.PROCESSING)


def test_rescue_stalled__leaves_the_job_of_a_living_worker(key, queue, work, waiting_jobs):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")
    let_a_worker_take_it(queue, "10 seconds")

    work(tasks.rescue_stalled)

    assert waiting_jobs() == []


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "aborted"])
def test_requeue_stranded__gives_a_job_to_what_lost_its_own(key, queue, work, waiting_jobs, end):
    lost, other = (Generation.objects.submit(api_key=key, prompt="a lighthouse") for _ in range(2))
    finished = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    finished.cancel()
    queue(
        "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status WHERE queueing_lock <> %s",
        end,
        str(other.id),
    )
    queue("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")

    work(tasks.requeue_stranded)
    work(tasks.requeue_stranded)

    assert sorted(waiting_jobs()) == sorted([str(lost.id), str(other.id)])


def test_requeue_stranded__leaves_what_is_young_or_being_rendered(key, queue, work, waiting_jobs):
    Generation.objects.submit(api_key=key, prompt="being rendered")
    queue("UPDATE procrastinate_jobs SET status = 'doing'")
    queue("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")
    Generation.objects.submit(api_key=key, prompt="young")
    queue("DELETE FROM procrastinate_jobs WHERE status = 'todo'")

    work(tasks.requeue_stranded)

    assert waiting_jobs() == []


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "aborted"])
@pytest.mark.parametrize(("age", "left"), [("25 hours", 0), ("23 hours", 1)])
def test_remove_finished_jobs__keeps_a_day_of_them(key, queue, work, end, age, left):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")
    queue("UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status", end)
    queue("UPDATE procrastinate_events SET at = now() - %s::interval", age)

    work(tasks.remove_finished_jobs)

    assert queue("SELECT count(*) FROM procrastinate_jobs") == [(left,)]


def test_waiting_job__is_one_for_each_generation(key):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")
    job = app.configure_task("generations.render", queueing_lock=str(generation.id))

    with pytest.raises(AlreadyEnqueued):
        job.defer(generation_id=str(generation.id))


def test_rescue_stalled__goes_on_after_a_job_that_ended_meanwhile(key, queue, work, waiting_jobs, monkeypatch, caplog):
    for _ in range(2):
        Generation.objects.submit(api_key=key, prompt="a lighthouse")
    let_a_worker_take_it(queue, "1 minute")
    retry_job, ended = JobManager.retry_job, []

    async def refuse_the_first(self, job):
        if not ended:
            ended.append(job)
            raise ConnectorException
        await retry_job(self, job)

    monkeypatch.setattr(JobManager, "retry_job", refuse_the_first)

    work(tasks.rescue_stalled)

    assert len(waiting_jobs()) == 1
    assert f"Job {ended[0].id} can't be run again." in caplog.text


def test_requeue_stranded__states_nothing_about_what_waits(key, queue, work, caplog):
    Generation.objects.submit(api_key=key, prompt="waiting")
    queue("UPDATE generations_generation SET created_at = now() - interval '2 minutes'")

    work(tasks.requeue_stranded)

    assert "had no job" not in caplog.text


def test_requeue__lets_a_waiting_job_be(key, waiting_jobs):
    generation = Generation.objects.submit(api_key=key, prompt="a lighthouse")

    assert Generation.objects.all().requeue() == [generation.id]

    assert waiting_jobs() == [str(generation.id)]


def test_requeue__is_not_offered_by_a_manager():
    assert not hasattr(Generation.objects, "requeue")


def test_periodic_tasks__run_as_often_as_is_worth_it():
    registered = app.periodic_registry.periodic_tasks.values()

    assert {periodic.task.name: periodic.cron for periodic in registered} == {
        "generations.rescue_stalled": "* * * * * */15",
        "generations.requeue_stranded": "* * * * *",
        "generations.rebase_shares": "17 * * * *",
        "generations.remove_finished_jobs": "17 * * * *",
        "generations.purge": "*/10 * * * *",
        "generations.find_orphans": "47 4 * * 0",
    }


@pytest.mark.parametrize("task", [tasks.rescue_stalled, tasks.requeue_stranded, tasks.remove_finished_jobs])
def test_periodic_task__waits_once_and_ahead_of_the_renders(key, queue, task):
    Generation.objects.submit(api_key=key, prompt="a lighthouse")

    task.defer(timestamp=0)
    with pytest.raises(AlreadyEnqueued):
        task.defer(timestamp=60)

    assert queue("SELECT task_name FROM procrastinate_jobs ORDER BY priority DESC, id") == [
        (task.name,),
        ("generations.render",),
    ]
