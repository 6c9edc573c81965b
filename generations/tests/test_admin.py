"""The admin of generations: actions, search, filters and the log of actions."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from generations.models import PARAMETERS, Generation
from generations.status import Status

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/admin/generations/generation/"


@pytest.fixture
def act(admin_client):
    def act(action: str, *rows: Generation, client=admin_client, **more):
        return client.post(
            URL, {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}, follow=True
        )

    return act


def shown(answer) -> list:
    return list(answer.context["cl"].result_list)


def logged() -> list[tuple[str, str]]:
    return list(LogEntry.objects.order_by("id").values_list("object_id", "change_message"))


def test_cancel__applies_to_unfinished_generations_and_is_logged(act, make_generation):
    pending, cancelled = make_generation(), make_generation(status=Status.CANCELLED, completed_at=timezone.now())

    answer = act("cancel", pending, cancelled)

    assert "Cancelled: 1." in answer.content.decode()
    assert Generation.objects.get(pk=pending.pk).status == Status.CANCELLED
    assert logged() == [(str(pending.pk), "Cancelled.")]


def test_submit_again__submits_the_same_parameters(act, make_generation, sql):
    old = make_generation(prompt="a fox", negative_prompt="blue", width=128, steps=7, guidance=2.5, seed=9)

    act("submit_again", old, back_to=str(old.pk))

    new = Generation.objects.exclude(pk=old.pk).get()
    assert [getattr(new, name) for name in PARAMETERS] == [getattr(old, name) for name in PARAMETERS]
    assert (new.api_key_id, new.status) == (old.api_key_id, Status.PENDING)
    assert sql("SELECT args->>'generation_id' FROM procrastinate_jobs") == [(str(new.pk),)]
    assert logged() == [(str(old.pk), f"Submitted again as {new.pk}.")]


def test_submit_again__for_a_revoked_key_or_beyond_the_quota_is_refused(act, make_key, make_generation):
    revoked, full = make_generation(), make_generation(api_key=make_key(max_pending=1))
    revoked.api_key.revoke()

    text = act("submit_again", revoked, full).content.decode()

    assert "is revoked: nothing can be submitted for it" in text
    assert "its quota of 1 unfinished generations" in text
    assert Generation.objects.count() == 2


@pytest.mark.parametrize("action", ["cancel", "submit_again", "restore", "delete_selected"])
def test_action__needs_its_permission(act, client, django_user_model, make_generation, action):
    generation = make_generation()
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_generation"))
    client.force_login(viewer)

    act(action, generation, client=client, post="yes")

    assert Generation.objects.get().status == Status.PENDING
    assert f'value="{action}"' not in client.get(f"{URL}{generation.pk}/change/").content.decode()


def test_restore_and_delete__are_in_the_history_of_each(act, admin_client, make_generation):
    rows = [make_generation(), make_generation()]

    confirmation = act("delete_selected", *rows).content.decode()
    act("delete_selected", *rows, post="yes")
    act("restore", *rows)

    assert "can be restored here, with its image" in confirmation
    for row in rows:
        history = admin_client.get(f"{URL}{row.pk}/history/").content.decode()
        assert "Restored." in history
        assert len(LogEntry.objects.filter(object_id=row.pk)) == 2


def test_delete__is_described_as_reversible(admin_client, make_generation):
    assert "can be restored here" in admin_client.get(f"{URL}{make_generation().pk}/delete/").content.decode()


def test_search__finds_words_of_prompts_and_names_of_keys(admin_client, make_key, make_generation):
    fox, boat = make_generation(prompt="A red Fox, running"), make_generation(prompt="red boat")
    named = make_generation(prompt="hills", api_key=make_key(name="Foxtrot team"))

    def found(text: str) -> set:
        return set(shown(admin_client.get(URL, {"q": text})))

    assert found("red") == {fox, boat}
    assert found("red fox") == {fox}
    assert found("red -boat") == {fox}
    assert found("fox") == {fox, named}
    assert found("foxtrot") == {named}
    assert found(named.api_key.prefix) == {named}
    assert found(str(boat.pk)) == {boat}
    assert found("\0 ' & | ! <-> (((") <= {fox, boat, named}


def test_search__uses_the_index(make_generation):
    make_generation()
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        plan = Generation.all_objects.search("fox").explain()
        cursor.execute("RESET enable_seqscan")

    assert "generation_prompt_words" in plan


def test_filters__by_key_model_and_creation(admin_client, make_key, make_generation):
    old_id = UUID(int=int((timezone.now() - timedelta(days=2)).timestamp() * 1000) << 80)
    old = make_generation(id=old_id, model="flux")
    new = make_generation(api_key=make_key(name="Foxtrot"))

    def found(**query: str) -> list:
        return shown(admin_client.get(URL, query))

    assert found(key=str(new.api_key_id)) == [new]
    assert found(key="foxtrot") == [new]
    assert found(model="flux") == [old]
    assert found(created="24") == [new]
    assert found(created="168") == [new, old]
    assert found(created="x", key="") == [new, old]


def test_links__connect_a_key_and_its_generations(admin_client, make_generation):
    generation = make_generation()
    page = reverse("admin:apikeys_apikey_change", args=[generation.api_key_id])

    assert f'href="{URL}?key={generation.api_key_id}"' in admin_client.get(page).content.decode()
    assert f'href="{page}"' in admin_client.get(URL).content.decode()


def test_image__is_downloaded_under_the_id(admin_client, make_generation, image_folder):
    generation = make_generation()
    image_folder.mkdir()
    (image_folder / "a.png").write_bytes(b"png")
    generation.complete(generation.start(), "a.png")

    answer = admin_client.get(f"{URL}{generation.pk}/image/?download")

    assert answer["Content-Disposition"] == f'attachment; filename="{generation.pk}.png"'
    assert answer.getvalue() == b"png"


def test_list__marks_deleted_rows_as_text(admin_client, make_generation):
    make_generation().delete()

    text = admin_client.get(URL).content.decode()

    assert '<span class="is-deleted">deleted</span>' in text
    assert "icon-yes" not in text


def test_status__needs_the_permission_to_view_generations(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))

    assert client.get("/admin/status/").status_code == 403
    assert "/admin/status/" not in client.get("/admin/").content.decode()
