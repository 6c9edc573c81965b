"""Actions on many generations at once."""

from io import BytesIO
from zipfile import ZIP_STORED, ZipFile

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.storage import default_storage
from django.test import Client

from generations.api import limits
from generations.images import archives
from generations.models import Generation
from generations.studio import gallery
from generations.tests.support.encoded import PNG, encoded
from lockngen.web import handler

pytestmark = pytest.mark.django_db
URL = "/studio/selection/"
UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def studio(key) -> Client:
    browser = Client(headers={"Accept-Language": "en"})
    browser.post("/studio/sign-in", {"token": key.token})
    return browser


def ids(*generations: Generation) -> str:
    return ",".join(str(generation.id) for generation in generations)


def test_delete_and_restore__move_all_to_the_bin_and_back(studio, make_completed):
    chosen, other = [make_completed(), make_completed()], make_completed()

    deleted = studio.post(f"{URL}delete", {"ids": ids(*chosen)}).json()

    assert deleted == {"count": 2, "message": "2 images moved to the bin."}
    assert Generation.objects.get() == other
    assert studio.post(f"{URL}restore", {"ids": ids(*chosen)}).json()["count"] == 2
    assert Generation.objects.count() == 3


@pytest.mark.parametrize("action", ["delete", "restore", "labels"])
def test_action__is_one_statement_on_the_generations(studio, make_completed, django_assert_max_num_queries, action):
    chosen = [make_completed() for _ in range(5)]
    if action == "restore":
        Generation.objects.all().delete()

    with django_assert_max_num_queries(10) as few:
        studio.post(f"{URL}{action}", {"ids": ids(*chosen), "labels": "a=b"})

    assert len([query for query in few if 'UPDATE "generations_generation"' in query["sql"]]) == 1


def test_labels__are_added_to_all(studio, make_completed):
    chosen = [make_completed(labels={"a": "b"}), make_completed()]

    answer = studio.post(f"{URL}labels", {"ids": ids(*chosen), "labels": "project = harbour, a=c"}).json()

    assert answer == {"count": 2, "message": "2 images labelled."}
    assert [each.labels for each in Generation.objects.all()] == [{"a": "c", "project": "harbour"}] * 2


def test_labels__leave_out_images_that_have_no_room(studio, make_completed):
    full, other = make_completed(labels={f"l{n}": "x" for n in range(16)}), make_completed()

    answer = studio.post(f"{URL}labels", {"ids": ids(full, other), "labels": "a=b"}).json()

    assert (answer["count"], answer["error"]) == (1, "1 image has no room for it.")
    full.refresh_from_db()
    assert len(full.labels) == 16
    assert studio.post(f"{URL}labels", {"ids": ids(full), "labels": "l0=y"}).json()["count"] == 1


@pytest.mark.parametrize("labels", ["", "a b=c", "a=" + "x" * 201, "a=\0"])
def test_labels__that_are_invalid_are_refused_with_the_reason(studio, make_completed, labels):
    generation = make_completed(labels={"a": "b"})

    answer = studio.post(f"{URL}labels", {"ids": ids(generation), "labels": labels})

    generation.refresh_from_db()
    assert answer.json()["error"]
    assert generation.labels == {"a": "b"}


@pytest.mark.parametrize("action", ["delete", "restore", "labels"])
def test_strangers_and_purged_ones__are_ignored(studio, make_completed, make_key, action):
    own, foreign = make_completed(), make_completed(api_key=make_key())
    if action == "restore":
        own.delete()
        foreign.delete()
    before = Generation.all_objects.values().get(pk=foreign.pk)

    answer = studio.post(f"{URL}{action}", {"ids": f"{ids(own, foreign)},{UNKNOWN}", "labels": "a=b"}).json()

    assert answer["count"] == 1
    assert Generation.all_objects.values().get(pk=foreign.pk) == before


@pytest.mark.parametrize("sent", ["", "x", f"{UNKNOWN},", ",".join([UNKNOWN] * (gallery.MAX_SELECTED + 1))])
@pytest.mark.parametrize("action", ["delete", "images.zip"])
def test_ids__that_are_none_or_too_many_are_a_bad_request(studio, action, sent):
    answer = studio.post(f"{URL}{action}", {"ids": sent})

    assert answer.status_code == 400
    assert b"`ids` takes 1 to 500 ids" in answer.content


@pytest.mark.parametrize("action", ["delete", "restore", "labels", "images.zip"])
def test_action__needs_a_post_of_a_session(studio, action):
    assert studio.get(f"{URL}{action}").status_code == 405
    assert Client().post(f"{URL}{action}", {"ids": UNKNOWN})["Location"] == "/"


def opened(answer) -> ZipFile:
    return ZipFile(BytesIO(b"".join(answer.streaming_content)))


def test_download__is_a_zip_of_the_images_as_they_are(studio, make_completed, make_generation, make_key):
    jpeg = encoded("JPEG")
    png, deleted = make_completed(prompt="Café"), make_completed(jpeg)
    deleted.delete()
    foreign = make_completed(api_key=make_key())

    answer = studio.post(f"{URL}images.zip", {"ids": ids(png, deleted, make_generation(), foreign)})

    archive = opened(answer)
    assert answer["Content-Type"] == "application/zip"
    assert 'attachment; filename="images-' in answer["Content-Disposition"]
    assert archive.testzip() is None
    assert [archive.read(name) for name in archive.namelist()] == [jpeg, PNG]
    assert [name.rpartition(".")[2] for name in archive.namelist()] == ["jpg", "png"]
    assert "-cafe-" in archive.namelist()[1]
    assert {entry.compress_type for entry in archive.infolist()} == {ZIP_STORED}


def test_download__leaves_out_a_missing_file(studio, make_completed):
    lost, kept = make_completed(), make_completed()
    default_storage.delete(lost.image_path)

    archive = opened(studio.post(f"{URL}images.zip", {"ids": ids(lost, kept)}))

    assert [archive.read(name) for name in archive.namelist()] == [PNG]


def test_download__reads_files_as_they_are_sent(make_completed, monkeypatch):
    image = make_completed(encoded("PNG"))
    entries = [archives.Entry(image.image_path, f"{number}.png", image.created_at) for number in range(3)]
    opened_paths, real = [], default_storage.open
    monkeypatch.setattr(default_storage, "open", lambda path: opened_paths.append(path) or real(path))

    parts = archives.chunks(entries)

    first = next(parts)
    assert len(opened_paths) == 1
    assert 0 < len(first) < handler.CHUNK + 1000
    parts.close()


def test_download__holds_a_slot_until_it_ends(studio, make_completed, settings):
    settings.WEB_DOWNLOADS_PER_KEY = 1
    generation = make_completed()

    answer = studio.post(f"{URL}images.zip", {"ids": ids(generation)})

    refused = studio.post(f"{URL}images.zip", {"ids": ids(generation)})
    assert (refused.status_code, refused["Retry-After"]) == (429, str(limits.RETRY_AFTER))
    assert b"limit of concurrent downloads" in refused.content
    opened(answer)
    assert opened(studio.post(f"{URL}images.zip", {"ids": ids(generation)})).namelist()


def test_admin_user__who_may_only_view_downloads_but_changes_nothing(key, make_completed):
    user = User.objects.create_user("ann", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_generation"))
    browser, generation = Client(), make_completed()
    browser.force_login(user)
    browser.post("/studio/key", {"key": str(key.pk)})

    assert browser.post(f"{URL}delete", {"ids": ids(generation)}).status_code == 403
    assert opened(browser.post(f"{URL}images.zip", {"ids": ids(generation)})).namelist()
