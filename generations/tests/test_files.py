"""Which files there are of a generation, and what becomes of those that an attempt left."""

from hashlib import sha256

import pytest

from generations.images import files, formats
from generations.tests.support.encoded import PNG, encoded
from lockngen.storage.filesystem import DurableFileSystemStorage

pytestmark = pytest.mark.django_db


def test_store__puts_both_files_under_year_month_id_and_attempt(make_generation, stored_files, image_folder):
    generation = make_generation()
    made = formats.read(PNG)

    stored = files.store(generation, 3, made)

    stem = f"generations/{generation.created_at:%Y}/{generation.created_at:%m}/{generation.id}-3"
    assert (stored["image_path"], stored["thumbnail_path"]) == (f"{stem}.png", f"{stem}.thumb.webp")
    assert stored_files() == {f"{stem}.png", f"{stem}.thumb.webp"}
    assert (image_folder / stored["image_path"]).read_bytes() == PNG
    assert (image_folder / stored["thumbnail_path"]).read_bytes() == made.thumbnail


def test_store__shows_what_the_image_is(make_generation):
    jpeg = encoded("JPEG", (80, 72))

    stored = files.store(make_generation(), 1, formats.read(jpeg))

    facts = {name: value for name, value in stored.items() if not name.endswith("_path")}
    assert facts == {
        "image_width": 80,
        "image_height": 72,
        "image_bytes": len(jpeg),
        "image_type": "image/jpeg",
        "image_sha256": sha256(jpeg).hexdigest(),
    }


def test_store__states_so_where_the_storage_does_not_take_it(make_generation, monkeypatch):
    def refuse(self, name, content):
        raise RuntimeError("no\nroom")

    monkeypatch.setattr(DurableFileSystemStorage, "_save", refuse)

    with pytest.raises(files.StorageUnavailable, match=r"^no room$"):
        files.store(make_generation(), 1, formats.read(PNG))


def test_paths__name_every_file(make_completed, stored_files):
    generation = make_completed()

    assert len(stored_files()) == 2
    assert set(files.paths(generation)) == stored_files()


def test_sweep__removes_what_attempts_left_that_ended_otherwise(make_completed, stored_files):
    generation, other = make_completed(), make_completed()
    kept = {*files.paths(generation), *files.paths(other)}
    files.store(generation, 2, formats.read(encoded("JPEG")))
    files.store(generation, 3, formats.read(PNG))
    later = set(files.store(generation, 4, formats.read(PNG)).values()) & stored_files()

    files.delete_leftovers(generation, before=4)

    assert stored_files() == kept | later


def test_sweep__goes_no_further_back_than_it_has_to(make_generation, stored_files, monkeypatch):
    monkeypatch.setattr(files, "MAX_LEFTOVER_ATTEMPTS", 2)
    generation = make_generation()
    for attempt in (1, 2, 3):
        files.store(generation, attempt, formats.read(PNG))

    files.delete_leftovers(generation, before=4)

    assert {path.rpartition("-")[2] for path in stored_files()} == {"1.png", "1.thumb.webp"}


def test_sweep__asks_nothing_where_there_was_no_attempt_before(make_generation, django_assert_num_queries):
    generation = make_generation()

    with django_assert_num_queries(0):
        files.delete_leftovers(generation, before=1)


@pytest.mark.parametrize("away", [(DurableFileSystemStorage, "delete"), (files, "_named")], ids=["storage", "database"])
def test_sweep__gives_up_where_something_is_away(make_generation, monkeypatch, caplog, away):
    def refuse(*_):
        raise OSError("no route\nto host")

    monkeypatch.setattr(*away, refuse)
    generation = make_generation()

    files.delete_leftovers(generation, before=2)

    assert f"Generation {generation.id} may have left files behind: no route to host" in caplog.text
