"""A purge that is interrupted, killed, concurrent or without a storage loses and leaves nothing."""

import pkgutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from unittest.mock import patch

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction

from generations.images import retention
from generations.images.pending_deletion import PendingDeletion
from generations.models import Generation
from generations.tests.support.purges import left, owned_by, purge
from lockngen.tests.support.processes import manage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retention_days")]
commits = pytest.mark.django_db(transaction=True)  # other connections see the rows


def assert_nothing_is_lost_or_left(stored_files) -> None:
    """Every file of a row exists, and every file belongs to a row or is recorded for removal."""
    owned = owned_by(*left())
    assert owned <= stored_files()
    assert stored_files() <= owned | {record.path for record in PendingDeletion.objects.all()}


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
    eleventh = [make_finished() for _ in range(40)][10]
    eleventh.refresh_from_db()
    image = image_folder / eleventh.image_path
    variables = {"RETENTION_FINISHED": "30", "MEDIA_ROOT": str(image_folder)}
    with manage("purge", "--batch", "1", variables=variables) as purging:
        while image.exists():
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
