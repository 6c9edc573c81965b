"""The database in the state that each migration leaves: on the way there, back again, and with data from there on."""

import uuid

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from lockngen.tests.test_migrations import APPS, MIGRATIONS, schema

# Migrations take tables away, so these tests run one after the other and put everything back.
pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = [(app, None) for app in APPS]
VALUES = {
    models.CharField: lambda field: "7" * field.max_length,
    models.TextField: lambda _: "seven",
    models.IntegerField: lambda _: 7,
    models.FloatField: lambda _: 7.5,
    models.BooleanField: lambda _: True,
    models.DateTimeField: lambda _: timezone.now(),
    models.UUIDField: lambda _: uuid.uuid4(),
    models.JSONField: lambda _: {"seven": 7},
}


def migrate(targets) -> MigrationExecutor:
    MigrationExecutor(connection).migrate(targets)
    return MigrationExecutor(connection)


def migrate_to_the_head() -> None:
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())


@pytest.fixture(scope="module", autouse=True)
def put_back(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        migrate(NOTHING)
        yield
        call_command("migrate", verbosity=0)  # with its signals, unlike the executor


@pytest.fixture(autouse=True)
def from_nothing(put_back):
    yield
    migrate(NOTHING)


def test_each_migration__goes_forward_back_and_forward_again():
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())

    for migration, _ in plan:
        name = (migration.app_label, migration.name)
        parents = [parent for parent in executor.loader.graph.node_map[name].parents if parent.key[0] == name[0]]
        before = schema()

        migrate([name])
        after = schema()
        migrate([parents[0].key if parents else (name[0], None)])
        assert validated(schema()) == validated(before), name
        migrate([name])
        assert schema() == after, name

    assert sorted((migration.app_label, migration.name) for migration, _ in plan) == MIGRATIONS


def validated(schema: list[tuple]) -> list[tuple]:
    """Going back does not make a validated constraint NOT VALID again, which is harmless."""
    return [(*row[:3], (row[3] or "").removesuffix(" NOT VALID")) for row in schema]


@pytest.mark.parametrize(("app", "name"), MIGRATIONS)
def test_data_of_each_state__survive_the_migrations_to_the_head(app, name):
    state = migrate([(app, name)]).loader.project_state((app, name))
    samples = {}
    for model in ours(state.apps):
        make_sample(model, samples)
    if ("generations", "generation") in state.models:
        make_generations(state.apps.get_model("generations", "Generation"), samples)
    before = rows()

    migrate_to_the_head()

    after = rows()
    assert len(before) >= len(samples) > 0
    assert before.keys() <= after.keys()
    for key, row in before.items():
        assert {column: after[key].get(column) for column in row} == row
    assert [definition for *_, definition in schema() if (definition or "").endswith("NOT VALID")] == []
    for model in ours(apps):
        for instance in model._base_manager.all():
            instance.validate_constraints()


def ours(apps) -> list[type[models.Model]]:
    return [model for model in apps.get_models() if model._meta.app_label in APPS]


def make_sample(model: type[models.Model], samples: dict) -> models.Model:
    """A row of a model, and of those that it refers to, with nothing but what has no default."""
    if model not in samples:
        needed = [field for field in model._meta.concrete_fields if is_needed(field)]
        values = {field.name: value_of(field, samples) for field in needed}
        samples[model] = model._base_manager.create(**values)
    return samples[model]


def is_needed(field: models.Field) -> bool:
    is_made = field.has_default() or field.db_default is not models.NOT_PROVIDED or isinstance(field, models.AutoField)
    return not (field.null or is_made)


def value_of(field: models.Field, samples: dict):
    if field.is_relation:
        return make_sample(field.related_model, samples)
    if field.choices:
        return field.choices[0][0]
    return next(make(field) for kind, make in VALUES.items() if isinstance(field, kind))


def make_generations(model: type[models.Model], samples: dict) -> None:
    """Generations in all the states that CHECK constraints distinguish."""
    sample = {"image_width": 64, "image_height": 64, "image_bytes": 5, "image_type": "image/png"}
    sample |= {"thumbnail_path": "2026/11/24/eight.thumb.webp", "image_sha256": "e" * 64}
    facts = {field.name: sample[field.name] for field in model._meta.fields if field.name in sample}
    now, (key,) = timezone.now(), [made for made in samples.values() if made._meta.model_name == "apikey"]
    for fields in (
        {"status": 1, "attempts": 1, "started_at": now},
        {"status": 2, "completed_at": now, "image_path": "2026/11/24/seven.png"},
        {"status": 2, "completed_at": now, "image_path": "2026/11/24/eight.png", **facts},
        {"status": 3, "completed_at": now, "error_message": "It broke."},
        {"status": 4, "completed_at": now, "is_deleted": True, "deleted_at": now},
    ):
        model._base_manager.create(api_key=key, prompt="a lighthouse", **fields)


def rows() -> dict[tuple, dict]:
    """Every row of our tables by its table and primary key."""
    found = {}
    with connection.cursor() as cursor:
        for table in [name for name, kind, *_ in schema() if kind == "table"]:
            key = connection.introspection.get_primary_key_column(cursor, table)
            cursor.execute(f"SELECT * FROM {table}")
            names = [column.name for column in cursor.description]
            table_rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            found |= {(table, row[key]): row for row in table_rows}
    return found
