"""What a purge removes, and when."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from procrastinate.job_context import AbortReason

from generations import tasks
from generations.images import retention
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.status import FINISHED, Status
from generations.tests.support.purges import left, owned_by, purge
from lockngen.environment import BASE_DIR

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retention_days")]
ENDS = {Status.COMPLETED: {"image_path": "a.png"}, Status.FAILED: {"error_message": "No."}, Status.CANCELLED: {}}


def test_purge__removes_expired_rows_and_their_files(make_finished, stored_files):
    kept = {make_finished(days=29), make_finished(days=29, deleted_days=6)}
    for _ in range(5):
        make_finished(days=31)
    make_finished(days=8, deleted_days=7.5)

    tally = purge()

    assert left() == kept
    assert stored_files() == owned_by(*kept)
    assert (tally.generations, tally.files, tally.bytes, tally.failures) == (6, 12, 96, 0)
    assert not PendingDeletion.objects.exists()


@pytest.mark.parametrize(("finished", "deleted"), [(0, 0), (0, 7), (30, 0)])
def test_purge__without_a_limit_keeps_everything(make_finished, settings, finished, deleted):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = finished, deleted
    live, deleted_lately = make_finished(days=3000), make_finished(days=20, deleted_days=19)

    purge()

    assert left() == {*([] if finished else [live]), *([] if deleted else [deleted_lately])}


def test_retention__has_no_limit_by_default():
    print_them = "from lockngen import settings as s; print(s.RETENTION_FINISHED, s.RETENTION_DELETED)"
    environment = {**os.environ, "RETENTION_FINISHED": "", "RETENTION_DELETED": ""}

    assert subprocess.check_output([sys.executable, "-c", print_them], cwd=BASE_DIR, env=environment) == b"0 0\n"


@pytest.mark.parametrize("status", Status)
def test_purge__removes_finished_generations_only(make_generation, status):
    old = Now() - timedelta(days=400)
    fields = {"completed_at": old, **ENDS[status]} if status in FINISHED else {}
    generation = make_generation(status=status, created_at=old, started_at=old, **fields)

    purge()

    assert left() == (set() if status in FINISHED else {generation})


def test_purge__keeps_the_keys(make_finished, key):
    make_finished(days=31), make_finished(days=1)
    key.delete()
    with pytest.raises(ProtectedError):
        key.hard_delete()

    purge()

    key.refresh_from_db()
    with pytest.raises(ProtectedError):
        key.hard_delete()
    Generation.all_objects.all().hard_delete()
    key.hard_delete()


def test_purge__of_a_missing_image_succeeds(make_finished, image_folder):
    (image_folder / make_finished().image_path).unlink()

    assert purge().generations == 1

    assert not left()
    assert not PendingDeletion.objects.exists()


def test_purge__needs_as_many_queries_for_many_rows_as_for_one(make_finished):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            purge(size=10)
        return len(captured)

    make_finished()
    for_one = queries()
    for _ in range(5):
        make_finished()

    assert queries() == for_one


@pytest.mark.parametrize("abort", [None, AbortReason.SHUTDOWN])
def test_task__purges_and_stops_with_its_worker(make_finished, make_context, monkeypatch, caplog, abort):
    caplog.set_level("INFO")
    monkeypatch.setattr(retention.purge, "__defaults__", (2,))
    for _ in range(6):
        make_finished()

    tasks.purge.func(make_context(abort), timestamp=0)

    assert len(left()) == (4 if abort else 0)
    assert f"Purged: generations {2 if abort else 6}, " in caplog.text


def test_task__stops_at_its_time_limit(make_finished, make_context, monkeypatch):
    monkeypatch.setattr(retention.purge, "__defaults__", (2,))
    monkeypatch.setattr(tasks, "PURGED_FOR", 0)
    for _ in range(6):
        make_finished()

    tasks.purge.func(make_context(), timestamp=0)

    assert len(left()) == 4


def test_query__is_served_by_an_index(key, sql):
    sql(
        """INSERT INTO generations_generation
                  (id, api_key_id, prompt, status, completed_at, is_deleted, deleted_at)
           SELECT gen_random_uuid(), %s, 'p', 4, ended_at, true, ended_at FROM generate_series(0, 1999) hours,
                  LATERAL (SELECT now() - make_interval(hours => hours) AS ended_at) ended""",
        key.pk,
    )
    sql("ANALYZE generations_generation")

    plans = [rows.select_for_update(skip_locked=True)[:20].explain() for rows in retention.expired()]

    assert "using generation_deleted_at" in plans[0]
    assert "using generation_completed_at" in plans[1]
