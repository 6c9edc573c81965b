"""What a purge removes and when, and that an interrupted one loses and leaves nothing."""

import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from unittest.mock import patch

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from procrastinate.job_context import AbortReason

from generations import tasks
from generations.images import files, retention
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.status import FINISHED, Status
from lockngen.environment import BASE_DIR
from lockngen.tests.support.processes import manage

pytestmark = pytest.mark.django_db
commits = pytest.mark.django_db(transaction=True)  # other connections see the rows
ENDS = {Status.COMPLETED: {"image_path": "a.png"}, Status.FAILED: {"error_message": "No."}, Status.CANCELLED: {}}


@pytest.fixture(autouse=True)
def retention_days(settings):
    settings.RETENTION_FINISHED, settings.RETENTION_DELETED = 30, 7


def purge(size: int = 2) -> retention.Tally:
    return [retention.Tally(), *retention.purge(size)][-1]


def left() -> set[Generation]:
    return set(Generation.all_objects.all())


def owned_by(*generations: Generation) -> set[str]:
    return {path for generation in generations for path in files.paths(generation)}


def assert_nothing_is_lost_or_left(stored_files) -> None:
    """Every file of a row exists, and every file belongs to a row or is recorded for removal."""
    owned = owned_by(*left())
    assert owned <= stored_files()
    assert stored_files() <= owned | {record.path for record in PendingDeletion.objects.all()}


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


class Killed(BaseException):
    """The process ends here; nothing catches this."""


STEPS = [
    "django.db.models.query:QuerySet.bulk_create",
    "lockngen.softdelete:SoftDeleteQuerySet.hard_delete",
    "lockngen.storage.filesystem:DurableFileSystemStorage.delete",
    "django.db.models.query:QuerySet.delete",  # of the rows, then of the records
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_purge__loses_nothing_and_is_completed_by_the_next_one(
    make_finished, stored_files, step, moment, call
):
    kept = make_finished(days=1)
    for _ in range(4):
        make_finished()
    with killed_at(step, moment, call), pytest.raises(Killed):
        purge()

    assert_nothing_is_lost_or_left(stored_files)
    purge()
    assert (left(), stored_files()) == ({kept}, owned_by(kept))
    assert not PendingDeletion.objects.exists()


def killed_at(step: str, moment: str, call: int):
    """Kill the purge before or after a step, at its first or second call."""
    real, calls = pkgutil.resolve_name(step), count(1)

    def killed(*args, **kwargs):
        is_now = next(calls) == call
        if is_now and moment == "before":
            raise Killed
        result = real(*args, **kwargs)
        if is_now:
            raise Killed
        return result

    return patch(step.replace(":", "."), killed)


@commits
def test_killed_purge__is_completed_by_the_next_one(make_finished, stored_files, image_folder):
    kept = {make_finished(days=1)}
    for _ in range(40):
        make_finished()
    variables = {"RETENTION_FINISHED": "30", "MEDIA_ROOT": str(image_folder)}
    with manage("purge", "--batch", "1", variables=variables) as purging:
        while len(stored_files()) > 60:
            assert purging.poll() is None
            time.sleep(0.002)
        purging.send_signal(signal.SIGKILL)

    assert 1 < len(left()) <= 31
    assert_nothing_is_lost_or_left(stored_files)
    purge(size=10)
    assert (left(), stored_files()) == (kept, owned_by(*kept))
    assert not PendingDeletion.objects.exists()


@commits
def test_concurrent_purges__share_the_work(make_finished, stored_files):
    kept = make_finished(days=1)
    for _ in range(24):
        make_finished()
    start = threading.Barrier(2)

    def work(_) -> retention.Tally:
        try:
            start.wait(10)
            return purge(size=3)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        tallies = list(threads.map(work, range(2)))

    assert (sum(tally.generations for tally in tallies), sum(tally.files for tally in tallies)) == (24, 48)
    assert min(tally.generations for tally in tallies) > 0
    assert (left(), stored_files()) == ({kept}, owned_by(kept))


@commits
def test_purge__skips_locked_rows(make_finished):
    held, _ = (make_finished(days=8, deleted_days=7.5) for _ in range(2))
    with ThreadPoolExecutor(1) as threads, transaction.atomic():
        Generation.all_objects.filter(pk=held.pk).restore()

        tally = threads.submit(purge_in_thread).result(10)

    assert tally.generations == 1
    assert left() == {held}


def purge_in_thread() -> retention.Tally:
    try:
        return purge()
    finally:
        connection.close()


def test_purge__stops_while_the_storage_is_unavailable_and_continues_later(make_finished, stored_files, caplog):
    for _ in range(6):
        make_finished()

    with patch.object(default_storage, "delete", side_effect=OSError("no route to host")):
        tally = purge(size=2)

    assert (tally.generations, tally.files, tally.failures, len(left())) == (2, 0, 4, 4)
    assert "can't be removed now: no route to host" in caplog.text
    assert purge().files == 12
    assert stored_files() == set()


def test_purge__skips_a_file_that_can_not_be_removed(make_finished, stored_files, image_folder):
    stuck = make_finished()
    (image_folder / stuck.image_path).unlink()
    (image_folder / stuck.image_path / "a folder in its place").mkdir(parents=True)
    for _ in range(5):
        make_finished()

    tallies = [purge(size=2), purge(size=2)]

    assert [tally.failures for tally in tallies] == [1, 1]
    assert not left()
    assert [record.path for record in PendingDeletion.objects.all()] == [stuck.image_path]


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
