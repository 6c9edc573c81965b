import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connection, models, transaction
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone

from generations.models import Generation
from lockngen.softdelete import LIVE, SoftDeleteModel

pytestmark = pytest.mark.django_db


class Note(SoftDeleteModel):
    """A model with unique rules of both kinds. Its table exists in these tests alone."""

    title = models.CharField(max_length=20)
    serial = models.IntegerField(unique=True)

    class Meta:
        app_label = "lockngen"
        managed = False
        constraints = [models.UniqueConstraint(fields=["title"], condition=LIVE, name="note_live_title_unique")]


@pytest.fixture
def make_note(db):
    with connection.schema_editor() as editor:
        editor.create_model(Note)
    serial = iter(range(100))

    return lambda title="a": Note.objects.create(title=title, serial=next(serial))


def test_delete__hides_and_dates_the_row(make_generation):
    generation = make_generation()

    assert generation.delete() == (1, {"generations.Generation": 1})

    assert generation.is_deleted
    assert abs(timezone.now() - generation.deleted_at).total_seconds() < 10
    assert not Generation.objects.exists()
    assert Generation.all_objects.get() == generation


def test_delete__counts_nothing_the_second_time(make_generation):
    generation = make_generation()
    generation.delete()
    deleted_at = generation.deleted_at

    assert generation.delete() == (0, {})
    assert generation.deleted_at == deleted_at


def test_delete__of_a_queryset_counts_as_django_does(make_generation):
    make_generation(), make_generation(prompt="other")

    assert Generation.objects.filter(prompt="other").delete() == (1, {"generations.Generation": 1})
    assert Generation.objects.none().delete() == (0, {})
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("name", ["delete", "restore", "hard_delete"])
@pytest.mark.parametrize("model", [Generation, Note])
def test_changes__are_not_offered_by_a_manager(model, name):
    assert hasattr(model.objects.all(), name)
    assert not hasattr(model.objects, name)
    assert not hasattr(model.all_objects, name)


@pytest.mark.parametrize("name", ["delete", "restore", "hard_delete"])
@pytest.mark.parametrize("thing", [Generation, Generation.objects.all(), Note, Note.objects.all()])
def test_changes__are_not_made_by_a_template(thing, name):
    assert getattr(thing, name).alters_data


def test_restore__brings_an_instance_back(make_generation):
    generation = make_generation()
    generation.delete()

    assert generation.restore()
    assert not generation.restore()

    assert (generation.is_deleted, generation.deleted_at) == (False, None)
    assert Generation.objects.get() == generation


def test_restore__brings_the_deleted_rows_of_a_queryset_back(make_generation):
    make_generation().delete()
    make_generation()

    assert Generation.all_objects.all().restore() == 1
    assert Generation.objects.count() == 2


def test_hard_delete__removes_live_and_deleted_rows(make_generation):
    make_generation().delete()
    make_generation()

    assert Generation.all_objects.all().hard_delete() == (2, {"generations.Generation": 2})
    assert not Generation.all_objects.exists()


def test_hard_delete__removes_an_instance(make_generation):
    generation = make_generation()

    assert generation.hard_delete() == (1, {"generations.Generation": 1})
    assert not Generation.all_objects.exists()


def test_reverse_relation__hides_deleted_rows(key, make_generation):
    make_generation().delete()
    live = make_generation()

    assert list(key.generations.all()) == [live]


def test_get_object_or_404__hides_deleted_rows(make_generation):
    generation = make_generation()
    generation.delete()

    with pytest.raises(Http404):
        get_object_or_404(Generation, pk=generation.pk)


def test_adelete__is_soft_as_well(make_generation):
    generation = make_generation()

    assert async_to_sync(generation.adelete)() == (1, {"generations.Generation": 1})
    assert Generation.all_objects.count() == 1


def test_unique__among_live_rows_frees_a_deleted_row_s_value(make_note):
    first = make_note("a")
    first.delete()

    second = make_note("a")

    assert Note.objects.get() == second
    with pytest.raises(IntegrityError), transaction.atomic():
        first.restore()


def test_unique__among_all_rows_keeps_a_deleted_row_s_value(make_note):
    note = make_note()
    note.delete()

    with pytest.raises(IntegrityError), transaction.atomic():
        Note.objects.create(title="b", serial=note.serial)


@pytest.mark.parametrize("fields", [{"is_deleted": True}, {"deleted_at": timezone.now()}])
def test_deletion__is_dated_in_every_row(make_generation, fields):
    with pytest.raises(IntegrityError, match="generation_deletion_is_dated"), transaction.atomic():
        make_generation(**fields)
