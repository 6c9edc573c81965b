"""Files that belong to no generation: which they are, and what becomes of them."""

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
NOBODYS = "generations/2026/01/019b76da-0000-7000-8000-000000000001.png"
LEFTOVERS = ["generations/2026/01/.partial-abc", ".health/web-1-17", ".health/.partial-abc"]


@pytest.fixture
def put(image_folder):
    """A file of that age in the storage."""

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
        stored = files.store(generation, attempt, formats.Picture(b"bytes", 64, 64, b"bytes"))
        assert generation.complete(attempt, **stored)
        for path in files.paths(generation):
            put(path)
        return generation

    return make


@pytest.fixture(params=["streaming", "any"], ids=["our storage", "any storage"])
def storage(request, monkeypatch):
    """The storage as ours is, which streams, and as Django lets any be."""
    if request.param == "any":
        monkeypatch.delattr(DurableFileSystemStorage, "scan")


def found(size: int = 2) -> set[str]:
    return {orphan.path for batch in orphans.find(size) for orphan in batch.orphans}


def test_find__names_what_no_generation_refers_to(storage, put, make_completed, make_generation):
    make_completed(), make_completed().delete()
    cancelled = make_generation()
    cancelled.cancel()
    lost = {
        put(NOBODYS),
        put(f"generations/2026/01/{cancelled.id}.png"),
        put(make_completed().image_path.replace("-1.png", "-2.png")),
        put(make_completed().thumbnail_path.replace("-1.", "-2.")),
        put("generations/put here by hand.png"),
        *(put(path) for path in LEFTOVERS),
    }

    assert found() == lost


def test_find__leaves_what_somebody_refers_to_whatever_its_name(put, make_generation):
    generation = make_generation()
    generation.complete(generation.start(), put("generations/an old name.png"))

    assert found() == set()


@pytest.mark.parametrize("is_begun", [True, False])
def test_find__leaves_what_the_next_attempt_may_write_anew(put, make_generation, is_begun):
    generation = make_generation()
    if is_begun:
        generation.start()
    put(f"generations/2026/01/{generation.id}-1.png")
    put(f"generations/2026/01/{generation.id}-1.thumb.webp")

    assert found() == set()


@pytest.mark.parametrize("path", [NOBODYS, *LEFTOVERS])
def test_find__leaves_what_is_younger_than_a_day(put, path):
    put(path, age=timedelta(hours=23))

    assert found() == set()


def test_find__has_nothing_to_find_before_the_first_image(storage):
    assert found() == set()


def test_find__passes_over_what_vanishes_meanwhile(put, monkeypatch):
    put(NOBODYS)
    paths = orphans._unclaimed
    monkeypatch.setattr(orphans, "_unclaimed", lambda files: default_storage.delete(NOBODYS) or paths(files))

    assert found() == set()


def test_find__reads_no_more_of_the_storage_than_it_has_reported_of(put, monkeypatch):
    scanned = []

    def endless(self, folder):
        for number in range(10**9):
            scanned.append(number)
            yield f"{uuid7()}.png", False

    monkeypatch.setattr(DurableFileSystemStorage, "scan", endless)

    assert next(orphans.find(100)).files == 100
    assert len(scanned) == 100


def test_find__asks_once_for_each_batch(put, make_completed, django_assert_num_queries):
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
    put(NOBODYS)
    before = stored_files()

    assert run("--dry-run") == ([NOBODYS], "Would remove 1 file (5 bytes) of 3.\n")
    assert stored_files() == before


def test_command__removes_orphans(put, make_completed, stored_files):
    owned = set(files.paths(make_completed()))
    for path in (NOBODYS, *LEFTOVERS):
        put(path)

    removed, said = run("--batch", "1")

    assert set(removed) == {NOBODYS, *LEFTOVERS}
    assert said == "Removed 4 files (20 bytes) of 6.\n"
    assert stored_files() == owned


def test_command__removes_nothing_where_the_database_may_be_the_wrong_one(put, stored_files):
    put(NOBODYS)

    with pytest.raises(CommandError, match="has no generation at all: check DATABASE_URL"):
        run()

    assert stored_files() == {NOBODYS}


def test_command__states_what_the_storage_states_in_one_line(make_generation, monkeypatch):
    make_generation()

    def broken(self, folder):
        raise OSError("no route\nto host")
        yield

    monkeypatch.setattr(DurableFileSystemStorage, "scan", broken)

    with pytest.raises(CommandError, match=r"The purge failed: no route to host$"):
        run()


def test_task__removes_leftovers_and_shows_of_the_rest(put, stored_files, make_context, caplog):
    for path in (NOBODYS, *LEFTOVERS):
        put(path)

    tasks.find_orphans.func(make_context(), timestamp=0)

    assert stored_files() == {NOBODYS}
    assert "Files that belong to no generation: 1." in caplog.text


def test_task__stops_with_its_worker(put, stored_files, make_context):
    for path in LEFTOVERS:
        put(path)

    tasks.find_orphans.func(make_context(AbortReason.SHUTDOWN), timestamp=0)

    assert stored_files() == set(LEFTOVERS)
