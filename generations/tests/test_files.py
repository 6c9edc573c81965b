"""The files of a generation, and those that unsuccessful attempts have left."""

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


def test_store__returns_the_facts_of_the_image(make_generation):
    jpeg = encoded("JPEG", (80, 72))

    stored = files.store(make_generation(), 1, formats.read(jpeg))

    facts = {name: value for name, value in stored.items() if not name.endswith(("_path", "_placeholder"))}
    assert facts == {
        "image_width": 80,
        "image_height": 72,
        "image_bytes": len(jpeg),
        "image_type": "image/jpeg",
        "image_sha256": sha256(jpeg).hexdigest(),
    }


def test_store__reports_an_unavailable_storage(make_generation, monkeypatch):
    def refuse(self, name, content):
        raise RuntimeError("no\nroom")

    monkeypatch.setattr(DurableFileSystemStorage, "_save", refuse)

    with pytest.raises(files.StorageUnavailable, match=r"^no room$"):
        files.store(make_generation(), 1, formats.read(PNG))


def test_paths__name_every_file(make_completed, stored_files):
    generation = make_completed()

    assert len(stored_files()) == 2
    assert set(files.paths(generation)) == stored_files()


def test_delete_leftovers__removes_the_files_of_unsuccessful_attempts(make_completed, stored_files):
    generation, other = make_completed(), make_completed()
    kept = {*files.paths(generation), *files.paths(other)}
    files.store(generation, 2, formats.read(encoded("JPEG")))
    files.store(generation, 3, formats.read(PNG))
    later = set(files.store(generation, 4, formats.read(PNG)).values()) & stored_files()

    files.delete_leftovers(generation, before=4)

    assert stored_files() == kept | later


def test_delete_leftovers__goes_back_a_limited_number_of_attempts(make_generation, stored_files, monkeypatch):
    monkeypatch.setattr(files, "MAX_LEFTOVER_ATTEMPTS", 2)
    generation = make_generation()
    for attempt in (1, 2, 3):
        files.store(generation, attempt, formats.read(PNG))

    files.delete_leftovers(generation, before=4)

    assert {path.rpartition("-")[2] for path in stored_files()} == {"1.png", "1.thumb.webp"}


def test_delete_leftovers__without_an_earlier_attempt_needs_no_query(make_generation, django_assert_num_queries):
    generation = make_generation()

    with django_assert_num_queries(0):
        files.delete_leftovers(generation, before=1)


@pytest.mark.parametrize(
    "failing", [(DurableFileSystemStorage, "delete"), (files, "_named")], ids=["storage", "database"]
)
def test_delete_leftovers__logs_an_outage(make_generation, monkeypatch, caplog, failing):
    def refuse(*_):
        raise OSError("no route\nto host")

    monkeypatch.setattr(*failing, refuse)
    generation = make_generation()

    files.delete_leftovers(generation, before=2)

    assert f"Generation {generation.id} may have left files behind: no route to host" in caplog.text
