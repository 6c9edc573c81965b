"""The database in the state that each migration leaves: on the way there, back again, and with data from there on."""

import uuid

import pytest
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.utils import timezone

from lockngen.tests.test_migrations import APPS, MIGRATIONS, schema

# Migrations take tables away, so these tests run one after the other and put everything back.
pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = [(app, None) for app in APPS]
# A value for a field in the samples of the state with this number: what is unique differs between states.
VALUES = {
    models.CharField: lambda field, number: f"{number:x}".rjust(field.max_length, "7"),
    models.TextField: lambda _, number: f"text {number}",
    models.IntegerField: lambda _, number: number,
    models.FloatField: lambda _, number: number + 0.5,
    models.BooleanField: lambda *_: True,
    models.DateTimeField: lambda *_: timezone.now(),
    models.UUIDField: lambda *_: uuid.uuid4(),
    models.JSONField: lambda _, number: {"number": number},
    models.BinaryField: lambda _, number: b"%d" % number,
}


@pytest.fixture(autouse=True)
def from_nothing(transactional_db):
    """A test starts without tables of ours."""
    MigrationExecutor(connection).migrate(NOTHING)
    yield
    call_command("migrate", verbosity=0)  # with its signals, unlike the executor


@pytest.fixture
def executor(from_nothing) -> MigrationExecutor:
    return MigrationExecutor(connection)


@pytest.fixture
def plan(executor) -> list[Migration]:
    """All migrations of ours in their order."""
    plan = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    assert sorted((migration.app_label, migration.name) for migration in plan) == MIGRATIONS
    return plan


@pytest.fixture
def state(executor) -> ProjectState:
    """The models of the other apps."""
    return executor.loader.project_state(list(executor.loader.applied_migrations))


def test_each_migration__goes_forward_back_and_forward_again(executor, plan, state):
    for migration in plan:
        before = schema()

        executor.apply_migration(state.clone(), migration)
        after = schema()
        executor.unapply_migration(state.clone(), migration)
        assert validated(schema()) == validated(before), migration
        state = executor.apply_migration(state, migration)
        assert schema() == after, migration


def validated(schema: list[tuple]) -> list[tuple]:
    """Going back does not make a validated constraint NOT VALID again, which is harmless."""
    return [(*row[:3], (row[3] or "").removesuffix(" NOT VALID")) for row in schema]


def test_data_of_each_state__survive_the_migrations_to_the_head(executor, plan, state):
    added = {}

    for number, migration in enumerate(plan, start=1):
        state = executor.apply_migration(state, migration)
        existing = rows()
        samples = Samples(number)
        for model in ours(state.apps):
            samples.make(model)
        if ("generations", "generation") in state.models:
            make_generations(state.apps.get_model("generations", "Generation"), samples)
        new = {key: row for key, row in rows().items() if key not in existing}
        assert len(new) >= len(samples.made) > 0
        added |= new

    after = rows()
    assert added.keys() <= after.keys()
    for key, row in added.items():
        assert {column: after[key].get(column) for column in row} == row
    # PostgreSQL has checked each row for each constraint.
    assert [definition for *_, definition in schema() if (definition or "").endswith("NOT VALID")] == []


def ours(apps) -> list[type[models.Model]]:
    return [model for model in apps.get_models() if model._meta.app_label in APPS]


class Samples:
    """A row of each model, with values for the fields without a default."""

    def __init__(self, number: int):
        self.number, self.made = number, {}

    def make(self, model: type[models.Model]) -> models.Model:
        if model not in self.made:
            needed = [field for field in model._meta.concrete_fields if is_needed(field)]
            values = {field.name: self.value_of(field) for field in needed}
            self.made[model] = model._base_manager.create(**values)
        return self.made[model]

    def value_of(self, field: models.Field):
        if field.is_relation:
            return self.make(field.related_model)
        if field.choices:
            return field.choices[0][0]
        return next(make(field, self.number) for kind, make in VALUES.items() if isinstance(field, kind))


def is_needed(field: models.Field) -> bool:
    is_made = field.has_default() or field.db_default is not models.NOT_PROVIDED or isinstance(field, models.AutoField)
    return not (field.null or is_made)


def make_generations(model: type[models.Model], samples: Samples) -> None:
    """Generations in all the states that CHECK constraints distinguish."""
    sample = {"image_width": 64, "image_height": 64, "image_bytes": 5, "image_type": "image/png"}
    sample |= {"thumbnail_path": f"{samples.number}/eight.thumb.webp", "image_sha256": "e" * 64}
    facts = {field.name: sample[field.name] for field in model._meta.fields if field.name in sample}
    now, (key,) = timezone.now(), [made for made in samples.made.values() if made._meta.model_name == "apikey"]
    for fields in (
        {"status": 1, "attempts": 1, "started_at": now},
        {"status": 2, "completed_at": now, "image_path": f"{samples.number}/seven.png"},
        {"status": 2, "completed_at": now, "image_path": f"{samples.number}/eight.png", **facts},
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
