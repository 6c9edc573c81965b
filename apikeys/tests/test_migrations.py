import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN

# Migrations take tables away, so these tests put everything back.
pytestmark = pytest.mark.django_db(transaction=True)

FIRST, SEEDED = ("apikeys", "0001_initial"), ("apikeys", "0002_seed_development_key")


def migrate(target: tuple[str, str]) -> None:
    MigrationExecutor(connection).migrate([target])


@pytest.fixture(scope="module")
def before_seed(django_db_setup, django_db_blocker):
    """The state before the key is seeded. Migrations between here and there take little time."""
    with django_db_blocker.unblock():
        migrate(FIRST)
        yield
        call_command("migrate", verbosity=0)


@pytest.fixture
def seed(before_seed, settings):
    settings.DEBUG = True
    migrate(SEEDED)
    yield
    migrate(FIRST)


def rows() -> list[dict]:
    """The rows of the table, whose columns may differ from the model's."""
    unsettled = {"id", "created_at", "last_used_at"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM apikeys_apikey")
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: row[name] for name in row if name not in unsettled} for row in found]


def test_back_and_forward__replaces_an_unreferenced_key_and_keeps_others(settings, key):
    settings.DEBUG = True
    ApiKey.objects.ensure_development()

    try:
        call_command("migrate", *FIRST, verbosity=0)
        left = [row["name"] for row in rows()]
    finally:
        call_command("migrate", verbosity=0)
    key.hard_delete()
    seeded = rows()
    is_usable = ApiKey.objects.usable_key(DEVELOPMENT_TOKEN) is not None
    ApiKey.all_objects.all().hard_delete()
    ApiKey.objects.ensure_development()

    assert left == [key.name]
    assert len(seeded) == 1
    assert seeded == rows()  # what the command creates
    assert is_usable


def test_seed__restores_a_deleted_key(seed):
    seeded = rows()
    migrate(FIRST)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO apikeys_apikey (id, key_hash, prefix, name, is_deleted, deleted_at)"
            " VALUES (gen_random_uuid(), %s, %s, 'Mine', true, now())",
            [tokens.digest(DEVELOPMENT_TOKEN), tokens.visible(DEVELOPMENT_TOKEN)],
        )

    migrate(SEEDED)

    assert len(seeded) == 1
    assert rows() == seeded


def test_back_and_forward__without_debug_removes_the_key(seed, settings):
    settings.DEBUG = False

    migrate(FIRST)
    left = rows()
    migrate(SEEDED)

    assert left == rows() == []


def test_reverse__keeps_a_referenced_key(seed):
    seeded = rows()
    connection.query("CREATE TABLE referrer (key uuid REFERENCES apikeys_apikey DEFERRABLE INITIALLY DEFERRED)")
    connection.query("INSERT INTO referrer SELECT id FROM apikeys_apikey")
    try:
        migrate(FIRST)
        left = rows()
        migrate(SEEDED)

        assert len(left) == 1
        assert left == rows() == seeded  # seeding again finds it
    finally:
        connection.query("DROP TABLE referrer")
