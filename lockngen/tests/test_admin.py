"""The admin of both models: that it shows everything, changes little, and stays quick."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apikeys.models import ApiKey
from generations.images import files, formats
from generations.models import Generation
from generations.status import Status
from generations.tests.support.encoded import PNG
from lockngen import admin

pytestmark = pytest.mark.django_db
KEYS, GENERATIONS = "/admin/apikeys/apikey/", "/admin/generations/generation/"


@pytest.fixture
def act(admin_client):
    """Run an action of a list on some rows, as its form does."""

    def act(page: str, action: str, rows, **more):
        data = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
        return admin_client.post(page, data, follow=True)

    return act


def shown(answer) -> list:
    return list(answer.context["cl"].result_list)


@pytest.mark.parametrize("page", ["/admin/", KEYS, GENERATIONS, GENERATIONS + "{}/change/", KEYS + "{}/change/"])
def test_page__opens(admin_client, make_generation, page):
    generation = make_generation()
    generation.complete(generation.start(), "a.png")

    id = generation.api_key_id if "apikey" in page else generation.id

    assert admin_client.get(page.format(id)).status_code == 200


def test_list__shows_deleted_rows_and_filters_them(admin_client, make_generation):
    live, deleted = make_generation(), make_generation()
    deleted.delete()

    assert shown(admin_client.get(GENERATIONS)) == [deleted, live]
    assert shown(admin_client.get(GENERATIONS, {"deleted": "yes"})) == [deleted]
    assert shown(admin_client.get(GENERATIONS, {"deleted": "no"})) == [live]


@pytest.mark.parametrize(
    ("page", "query"),
    [
        (KEYS, {"state": "\0"}),
        *((page, {"created_at__year": "99999999"}) for page in (KEYS, GENERATIONS)),
        *((GENERATIONS, {name: "\0"}) for name in ("model", "key", "created", "deleted", "status__exact")),
    ],
)
def test_list__with_a_filter_that_cannot_be_read_is_no_error(admin_client, make_generation, page, query):
    make_generation()

    assert admin_client.get(page, query, follow=True).status_code == 200


def test_list__as_many_queries_for_many_rows_as_for_one(admin_client, make_generation, make_key):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(GENERATIONS)
        return len(captured)

    make_generation()
    one = queries()
    for _ in range(10):
        make_generation(api_key=make_key())

    assert queries() == one


@pytest.mark.parametrize("page", [KEYS, GENERATIONS])
def test_search__finds_by_id_and_by_the_start_of_a_token(admin_client, make_generation, make_key, page):
    generation, _ = make_generation(), make_generation(api_key=make_key())
    wanted = generation if page == GENERATIONS else generation.api_key

    assert shown(admin_client.get(page, {"q": str(wanted.id)})) == [wanted]
    assert shown(admin_client.get(page, {"q": f" {generation.api_key.prefix} "})) == [wanted]
    assert shown(admin_client.get(page, {"q": "nothing"})) == []


def test_count__stops_at_the_cap(monkeypatch, make_generation):
    monkeypatch.setattr(admin, "COUNTED_ROWS", 2)
    for _ in range(3):
        make_generation()

    paginator = admin.CappedPaginator(Generation.all_objects.order_by("-id"), per_page=1)

    assert (paginator.count, paginator.num_pages) == (2, 2)


@pytest.mark.parametrize("query", [{}, {"deleted": "yes"}, {"_facets": "True"}])
def test_list__counts_no_further_than_the_cap(admin_client, make_generation, query):
    make_generation()

    with CaptureQueriesContext(connection) as captured:
        admin_client.get(GENERATIONS, query)

    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
    assert counts
    assert [sql for sql in counts if f"LIMIT {admin.COUNTED_ROWS}" not in sql] == []


def test_action__on_as_many_rows_as_are_counted_is_run(act, make_generation, monkeypatch):
    monkeypatch.setattr(admin, "COUNTED_ROWS", 2)
    rows = [make_generation() for _ in range(2)]

    act(GENERATIONS, "delete_selected", rows[:1], select_across="1", post="yes")

    assert not Generation.objects.exists()


def test_action__on_more_rows_than_are_counted_is_refused(act, make_generation, monkeypatch):
    monkeypatch.setattr(admin, "COUNTED_ROWS", 2)
    rows = [make_generation() for _ in range(3)]

    answer = act(GENERATIONS, "delete_selected", rows[:1], select_across="1", post="yes")

    assert "limited to 2 rows" in answer.content.decode()
    assert Generation.objects.count() == 3


def test_generation__can_be_neither_added_nor_changed(admin_client, make_generation):
    generation = make_generation()

    assert admin_client.get(GENERATIONS + "add/").status_code == 403
    assert admin_client.post(f"{GENERATIONS}{generation.id}/change/", {"prompt": "other"}).status_code == 403
    assert Generation.objects.get().prompt == generation.prompt


def test_generation__shows_its_image_with_the_view_permission(admin_client, client, make_generation, image_folder):
    generation = make_generation()
    image_folder.mkdir()
    (image_folder / "a.png").write_bytes(b"png")
    generation.complete(generation.start(), "a.png")
    url = reverse("admin:generations_generation_image", args=[generation.id])

    assert url in admin_client.get(GENERATIONS).content.decode()
    assert admin_client.get(url).getvalue() == b"png"
    assert client.get(url).status_code == 302


def test_generation__shows_its_image_although_it_is_deleted(admin_client, make_generation, image_folder):
    generation = make_generation()
    image_folder.mkdir()
    (image_folder / "a.png").write_bytes(b"png")
    generation.complete(generation.start(), "a.png")
    generation.delete()

    assert admin_client.get(f"{GENERATIONS}{generation.id}/image/").getvalue() == b"png"


def test_generation__shows_what_its_image_is_and_lists_thumbnails(admin_client, make_generation):
    generation = make_generation()
    attempt = generation.start()
    generation.complete(attempt, **files.store(generation, attempt, formats.read(PNG)))
    url = f"{GENERATIONS}{generation.id}/image/"

    listed, shown = admin_client.get(GENERATIONS), admin_client.get(f"{GENERATIONS}{generation.id}/change/")

    assert f'src="{url}?size=thumb"' in listed.content.decode()
    assert f'src="{url}"' in shown.content.decode()
    for fact in ("64×64", "image/png", generation.image_sha256, generation.thumbnail_path):
        assert fact in shown.content.decode()
    assert admin_client.get(url).getvalue() == PNG
    assert admin_client.get(url, {"size": "thumb"}).getvalue() == formats.read(PNG).thumbnail


def test_generation__shows_how_long_the_last_attempt_took(admin_client, make_generation):
    now = timezone.now()
    times = {"created_at": now - timedelta(hours=1), "started_at": now - timedelta(seconds=3.5), "completed_at": now}
    make_generation(status=Status.CANCELLED, **times)

    assert '<td class="field-duration">3.5</td>' in admin_client.get(GENERATIONS).content.decode()


def test_generation__hides_its_image_without_the_view_permission(client, django_user_model, make_generation):
    generation = make_generation()
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))

    assert client.get(f"{GENERATIONS}{generation.id}/image/").status_code == 403


def test_delete__cancels_unfinished_generations_and_restore_brings_them_back(act, make_generation):
    rows = [make_generation(), make_generation()]

    act(GENERATIONS, "delete_selected", rows, post="yes")
    assert not Generation.objects.exists()
    assert set(Generation.all_objects.values_list("status", flat=True)) == {Status.CANCELLED}

    answer = act(GENERATIONS, "restore", rows)
    assert Generation.objects.count() == 2
    assert "Restored: 2." in answer.content.decode()


def test_delete__of_keys_with_generations_is_soft_and_works(act, key, make_key, make_generation):
    make_generation()

    confirmation = act(KEYS, "delete_selected", [key])
    act(KEYS, "delete_selected", [key, make_key()], post="yes")

    assert "protected" not in confirmation.content.decode()
    assert not ApiKey.objects.exists()
    assert ApiKey.all_objects.count() == 2
    assert Generation.objects.count() == 1


def test_delete__of_one_key_with_generations_is_soft_and_works(admin_client, key, make_generation):
    make_generation()

    answer = admin_client.post(f"{KEYS}{key.id}/delete/", {"post": "yes"}, follow=True)

    assert "was deleted successfully" in answer.content.decode()
    assert ApiKey.all_objects.get().is_deleted


def test_delete__takes_more_rows_than_a_form_has_fields_by_default(act, key):
    rows = Generation.objects.bulk_create(Generation(api_key=key, prompt="a lighthouse") for _ in range(1100))

    act(GENERATIONS, "delete_selected", rows, post="yes")

    assert not Generation.objects.exists()


def test_queue__has_no_admin(admin_client):
    assert admin_client.get("/admin/procrastinate/procrastinatejob/").status_code == 404


def test_delete__needs_the_permission(client, django_user_model, key, make_key):
    deleted = make_key()
    deleted.delete()
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)

    client.post(KEYS, {"action": "delete_selected", "_selected_action": [str(key.id)], "post": "yes"})
    client.post(KEYS, {"action": "restore", "_selected_action": [str(deleted.id)]})

    assert ApiKey.objects.get() == key


def test_key__can_be_switched_off_but_keeps_its_hash(admin_client, key):
    page = f"{KEYS}{key.id}/change/"
    fields = {
        "name": "Ann",
        "rate_limit": "5",
        "max_pending": "0",
        "priority": "1",
        "expires_at_0": "",
        "expires_at_1": "",
    }

    answer = admin_client.post(page, {**fields, "key_hash": "0" * 64})

    assert answer.status_code == 302
    changed = ApiKey.objects.get()
    assert (changed.name, changed.rate_limit, changed.is_active) == ("Ann", 5, False)
    assert changed.key_hash == key.key_hash


def test_key__shows_neither_hash_nor_token(admin_client, key):
    for page in (KEYS, f"{KEYS}{key.id}/change/", f"{KEYS}{key.id}/history/"):
        text = admin_client.get(page).content.decode()
        assert key.key_hash not in text
        assert key.token not in text


def test_key__is_added_with_the_permission_only(client, django_user_model):
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)

    assert client.get(KEYS + "add/").status_code == 403
