"""Files that belong to no generation, and their removal."""

import os
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from procrastinate.job_context import AbortReason
from uuid_utils.compat import uuid7

from generations import tasks
from generations.images import files, formats, orphans
from lockngen.storage.filesystem import DurableFileSystemStorage

pytestmark = pytest.mark.django_db
ORPHAN = "generations/2026/01/019b76da-0000-7000-8000-000000000001.png"
LEFTOVERS = ["generations/2026/01/.partial-abc", ".health/web-1-17", ".health/.partial-abc"]


@pytest.fixture
def put(image_folder):
    """Stores a file of this age."""

    def put(path: str, age: timedelta = timedelta(hours=25)) -> str:
        default_storage.save(path, ContentFile(b"bytes"))
        then = time.time() - age.total_seconds()
        os.utime(image_folder / path, (then, then))
        return path

    return put


@pytest.fixture
def make_completed(make_generation, put):
    def make(**fields):
        generation = make_generation(**fields)
        attempt = generation.start()
        stored = files.store(generation, attempt, formats.RenderedImage(b"bytes", 64, 64, b"bytes"))
        assert generation.complete(attempt, **stored)
        for path in files.paths(generation):
            put(path)
        return generation

    return make


def found(size: int = 2) -> set[str]:
    return {orphan.path for batch in orphans.find(size) for orphan in batch.orphans}


def test_find__returns_files_that_no_generation_refers_to(put, make_completed, make_generation):
    make_completed(), make_completed().delete()
    cancelled = make_generation()
    cancelled.cancel()
    lost = {
        put(ORPHAN),
        put(f"generations/2026/01/{cancelled.id}.png"),
        put(make_completed().image_path.replace("-1.png", "-2.png")),
        put(make_completed().thumbnail_path.replace("-1.", "-2.")),
        put("generations/put here by hand.png"),
        *(put(path) for path in LEFTOVERS),
    }

    assert found() == lost


def test_find__skips_a_referenced_file_of_any_name(put, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), put("generations/an old name.png"))

    assert found() == set()


@pytest.mark.parametrize("is_begun", [True, False])
def test_find__skips_files_that_an_attempt_may_be_writing(put, make_generation, is_begun):
    generation = make_generation()
    if is_begun:
        generation.start()
    put(f"generations/2026/01/{generation.id}-1.png")
    put(f"generations/2026/01/{generation.id}-1.thumb.webp")

    assert found() == set()


@pytest.mark.parametrize("path", [ORPHAN, *LEFTOVERS])
def test_find__skips_files_younger_than_a_day(put, path):
    put(path, age=timedelta(hours=23))

    assert found() == set()


def test_find__of_an_empty_storage_is_empty():
    assert found() == set()


def test_find__skips_a_file_removed_meanwhile(put, monkeypatch):
    put(ORPHAN)
    claimed = orphans._claimed
    monkeypatch.setattr(orphans, "_claimed", lambda ids: default_storage.delete(ORPHAN) or claimed(ids))

    assert found() == set()


def test_find__reads_the_storage_batch_by_batch(put, monkeypatch):
    scanned = []

    def endless(self, folder):
        for number in range(10**9):
            scanned.append(number)
            yield f"{uuid7()}.png", False

    monkeypatch.setattr(DurableFileSystemStorage, "scan", endless)

    assert next(orphans.find(100)).files == 100
    assert len(scanned) == 100


def test_find__needs_one_query_for_each_batch(put, make_completed, django_assert_num_queries):
    for _ in range(10):
        make_completed()

    with django_assert_num_queries(4):  # of twenty files
        assert found(size=5) == set()


def run(*arguments: str) -> tuple[list[str], str]:
    out, err = StringIO(), StringIO()
    call_command("purge", "--orphans", *arguments, stdout=out, stderr=err)
    return out.getvalue().split("\n")[:-1], err.getvalue()


def test_command__lists_orphans_and_changes_nothing(put, make_completed, stored_files):
    make_completed()
    put(ORPHAN)
    before = stored_files()

    assert run("--dry-run") == ([ORPHAN], "Would remove 1 file (5 bytes) of 3.\n")
    assert stored_files() == before


def test_command__removes_orphans(put, make_completed, stored_files):
    owned = set(files.paths(make_completed()))
    for path in (ORPHAN, *LEFTOVERS):
        put(path)

    removed, summary = run("--batch", "1")

    assert set(removed) == {ORPHAN, *LEFTOVERS}
    assert summary == "Removed 4 files (20 bytes) of 6.\n"
    assert stored_files() == owned


def test_command__removes_nothing_if_the_database_has_no_generations(put, stored_files):
    put(ORPHAN)

    with pytest.raises(CommandError, match="has no generation at all: check DATABASE_URL"):
        run()

    assert stored_files() == {ORPHAN}


def test_command__reports_an_error_of_the_storage_on_one_line(make_generation, monkeypatch):
    make_generation()

    def broken(self, folder):
        raise OSError("no route\nto host")
        yield

    monkeypatch.setattr(DurableFileSystemStorage, "scan", broken)

    with pytest.raises(CommandError, match=r"The purge failed: no route to host$"):
        run()


def test_task__removes_leftovers_and_logs_the_number_of_the_rest(put, stored_files, make_context, caplog):
    for path in (ORPHAN, *LEFTOVERS):
        put(path)

    tasks.find_orphans.func(make_context(), timestamp=0)

    assert stored_files() == {ORPHAN}
    assert "Files that belong to no generation: 1." in caplog.text


def test_task__stops_with_its_worker(put, stored_files, make_context):
    for path in LEFTOVERS:
        put(path)

    tasks.find_orphans.func(make_context(AbortReason.SHUTDOWN), timestamp=0)

    assert stored_files() == set(LEFTOVERS)
