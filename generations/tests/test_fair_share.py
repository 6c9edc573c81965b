"""Whose generation is rendered next, in the order of the queue's own function."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from generations.models import Generation
from generations.scheduling.fair_share import FIRST, MAX_POSITION, ONE_SHARE, URGENT, FairShare
from generations.scheduling.queues import RENDER
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def submit(db):
    def submit(key, count: int = 1, **fields) -> list[Generation]:
        prompts = [f"{key.name} {number}" for number in range(count)]
        return [Generation.objects.submit(api_key=key, prompt=prompt, **fields) for prompt in prompts]

    return submit


@pytest.fixture
def serve(db):
    """Start the next generations of the queue, and return their prompts."""

    def serve(count: int, *queues: str) -> list[str]:
        return [serve_one(list(queues) or None) for _ in range(count)]

    def serve_one(queues: list[str] | None) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT (procrastinate_fetch_job_v2(%s, NULL)).id", [queues])
            job = ProcrastinateJob.objects.get(pk=cursor.fetchone()[0])
        generation = Generation.all_objects.get(pk=job.args["generation_id"])
        FairShare.objects.record_start(generation.api_key_id, job.priority)
        generation.start()
        return generation.prompt

    return serve


@pytest.fixture
def ann(make_key):
    return make_key(name="Ann")


@pytest.fixture
def ben(make_key):
    return make_key(name="Ben")


def test_keys__alternate(submit, serve, ann, ben):
    submit(ann, 3), submit(ben, 3)

    assert serve(6) == ["Ann 0", "Ben 0", "Ann 1", "Ben 1", "Ann 2", "Ben 2"]


def test_single_prompt__does_not_wait_for_the_backlog_of_another_key(submit, serve, ann, ben):
    submit(ann, 20)
    serve(5)
    submit(ben)

    assert "Ben 0" in serve(2)


def test_backlog__is_not_starved_by_a_key_that_submits_often(submit, serve, ann, ben):
    submit(ann, 20)
    served = []
    for _ in range(20):
        submit(ben)
        served += serve(1)

    assert len([name for name in served if name.startswith("Ann")]) >= 0.4 * len(served)
    assert [name for name in served if name.startswith("Ann")] == [f"Ann {number}" for number in range(10)]


def test_backlog__is_not_starved_by_a_key_that_always_has_several_waiting(submit, serve, ann, ben):
    submit(ann, 20), submit(ben, 8)
    served = []
    for _ in range(24):
        served += serve(1)
        submit(ben)

    assert len([name for name in served if name.startswith("Ann")]) >= 0.4 * len(served)


def test_key_that_returns__neither_gains_nor_loses_by_its_absence(submit, serve, ann, ben):
    submit(ann, 20)
    serve(20)
    submit(ben, 5), submit(ann, 5)

    served = serve(10)

    assert len([name for name in served[:6] if name.startswith("Ann")]) in (2, 3)
    assert len([name for name in served[:8] if name.startswith("Ann")]) in (3, 4)


def test_idle_key__saves_no_shares(submit, serve, ann, ben):
    submit(ben), submit(ann, 40)
    serve(21)
    submit(ben, 10)

    served = serve(10)

    assert len([name for name in served if name.startswith("Ann")]) in (4, 5, 6)


def test_key_with_priority__gets_that_many_shares(submit, serve, ann, make_key):
    preferred = make_key(name="Cid", priority=3)
    submit(ann, 20), submit(preferred, 20)

    served = serve(16)

    assert len([name for name in served if name.startswith("Cid")]) == 12


def test_cancelled_backlog__costs_no_shares(submit, serve, ann, ben):
    for generation in submit(ann, 30):
        generation.cancel()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
        cursor.execute("UPDATE generations_turn SET taken_at = taken_at - interval '11 seconds'")
    submit(ben, 5), submit(ann)

    assert "Ann 0" in serve(2)


def test_queue_that_lags_behind__serves_a_new_key_next(submit, serve, ann, ben, make_key):
    """A single slow worker serves the large model, while another renders the small one."""
    submit(ann, 10, model="large"), submit(make_key(name="Cid"), 14, model="small")
    serve(14, "render-small"), serve(3, "render-large")
    submit(ben, model="large")

    assert "Ben 0" in serve(2, "render-large")


def test_queue_that_lags_behind__saves_no_shares(submit, serve, ann, ben):
    submit(ann, 10, model="large"), submit(ben, 14, model="small")
    serve(14, "render-small"), serve(3, "render-large")
    submit(ben, 6, model="large")

    assert len([name for name in serve(6, "render-large") if name.startswith("Ann")]) >= 3


def test_prompts_of_one_key__are_served_in_their_order(submit, serve, ann):
    submit(ann, 10)

    assert serve(10) == [f"Ann {number}" for number in range(10)]


def test_maintenance__has_priority_over_renders():
    assert FIRST < URGENT == 2**31 - 1
    assert FIRST - 2 * MAX_POSITION >= -(2**31)


def test_positions__lost_in_a_crash_continue_at_the_head_of_the_queue(submit, serve, ann, ben):
    submit(ann, 10)
    serve(3)
    FairShare.objects.all().delete()  # what a crash does to an UNLOGGED table
    submit(ben, 2), submit(ann)

    served = serve(10)

    assert served.index("Ben 1") < 4
    assert [name for name in served if name.startswith("Ann")] == [*(f"Ann {n}" for n in range(3, 10)), "Ann 0"]


@pytest.mark.django_db(transaction=True)
def test_table__is_unlogged():
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'generations_turn'")
        assert cursor.fetchone() == ("u",)


def test_rebase__keeps_the_order(submit, serve, ann, ben):
    submit(ann, 4), submit(ben, 2)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE generations_turn SET taken = taken + %s, started = %s", [MAX_POSITION + 1] * 2)
        cursor.execute("UPDATE procrastinate_jobs SET priority = priority::bigint - %s", [MAX_POSITION + 1])

    FairShare.objects.rebase()

    assert FairShare.objects.filter(taken__lt=10 * ONE_SHARE).count() == 2
    submit(ben)
    assert serve(7) == ["Ann 0", "Ben 0", "Ann 1", "Ben 1", "Ann 2", "Ben 0", "Ann 3"]


@pytest.mark.parametrize("key", ["ann", "ben", "known ben"])
def test_position__beyond_the_range_of_an_integer(submit, ann, ben, key):
    """The smallest priorities of jobs stand for positions that an integer of PostgreSQL can't hold."""
    submit(ann), submit(ben, key == "known ben")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET priority = -10")
    FairShare.objects.filter(api_key=ann).delete()  # as a crash does to an UNLOGGED table
    FairShare.objects.update(started=None)

    submit(ann if key == "ann" else ben)

    assert FairShare.objects.get().taken == FIRST + 10 + (ONE_SHARE if key == "ann" else 0)


def test_rebase__leaves_small_positions_alone(submit, ann):
    submit(ann, 3)
    before = list(FairShare.objects.values()), list(ProcrastinateJob.objects.values_list("priority"))

    FairShare.objects.rebase()

    assert (list(FairShare.objects.values()), list(ProcrastinateJob.objects.values_list("priority"))) == before


def test_rebase__adjusts_a_job_enqueued_meanwhile(submit, serve, ann):
    submit(ann, 2)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET priority = %s WHERE priority < %s", [-5, FIRST])

    FairShare.objects.rebase()

    assert sorted(ProcrastinateJob.objects.values_list("priority", flat=True)) == [FIRST - ONE_SHARE, FIRST]


def test_record_start__of_an_earlier_position_keeps_the_later_one(submit, ann):
    submit(ann)

    for position in (10 * ONE_SHARE, ONE_SHARE):
        FairShare.objects.record_start(ann.pk, FIRST - position)

    assert FairShare.objects.get(api_key=ann).started == 10 * ONE_SHARE


@pytest.mark.parametrize("priority", [0, 11])
def test_priority__is_from_1_to_10(ann, priority):
    ann.priority = priority

    with pytest.raises(ValidationError, match="priority"):
        ann.full_clean()


@pytest.mark.django_db(transaction=True)
def test_first_position__of_a_key_follows_the_one_assigned_meanwhile(key, other, sql):
    def assign() -> int:
        try:
            return FairShare.objects.assign_priorities([(key, RENDER)])[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with other.transaction():
            other.execute("INSERT INTO generations_turn (api_key_id, taken, taken_at) VALUES (%s, 0, now())", [key.pk])
            assigned = threads.submit(assign)
            wait_until(lambda: sql("SELECT pid FROM pg_locks WHERE NOT granted"))

        assert assigned.result(10) == FIRST - ONE_SHARE


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_new", [True, False])
def test_positions__assigned_concurrently_to_one_key_are_distinct(key, is_new):
    if not is_new:
        FairShare.objects.assign_priorities([(key, RENDER)])

    def assign(_) -> list[int]:
        try:
            return [FairShare.objects.assign_priorities([(key, RENDER)])[0] for _ in range(10)]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assigned = [priority for priorities in threads.map(assign, range(4)) for priority in priorities]

    assert len(set(assigned)) == 40
