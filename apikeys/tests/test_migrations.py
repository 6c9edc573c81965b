import pytest
from django.core.management import call_command
from django.db import connection

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN
from generations.models import Generation

# Migrations take tables away, so these tests put everything back.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def migrate():
    yield lambda *target: call_command("migrate", *target, verbosity=0)
    call_command("migrate", verbosity=0)
    Generation.all_objects.all().hard_delete()
    ApiKey.all_objects.all().hard_delete()


def rows() -> list[dict]:
    """The rows of the table, whose columns may differ from the model's."""
    unsettled = {"id", "created_at", "last_used_at"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM apikeys_apikey")
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: row[name] for name in row if name not in unsettled} for row in found]


def test_back_and_forward__replaces_an_unreferenced_key_and_keeps_others(settings, migrate, key):
    settings.DEBUG = True
    ApiKey.objects.ensure_development()

    migrate("apikeys", "0001")
    left = [row["name"] for row in rows()]
    migrate()
    key.hard_delete()
    seeded = rows()
    ApiKey.all_objects.all().hard_delete()
    ApiKey.objects.ensure_development()

    assert left == [key.name]
    assert len(seeded) == 1
    assert seeded == rows()  # what the command creates
    assert ApiKey.objects.usable_key(DEVELOPMENT_TOKEN)


def test_seed__makes_a_deleted_key_usable_again(settings, migrate):
    settings.DEBUG = True
    migrate("apikeys", "0001")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO apikeys_apikey (id, key_hash, prefix, name, is_deleted, deleted_at)"
            " VALUES (gen_random_uuid(), %s, %s, 'Mine', true, now())",
            [tokens.digest(DEVELOPMENT_TOKEN), tokens.visible(DEVELOPMENT_TOKEN)],
        )

    migrate()

    assert ApiKey.objects.usable_key(DEVELOPMENT_TOKEN)


def test_back_and_forward__without_debug_removes_the_key(settings, migrate):
    settings.DEBUG = False
    ApiKey.objects.ensure_development()

    migrate("apikeys", "0001")
    left = rows()
    migrate()

    assert left == rows() == []


def test_reverse__keeps_a_referenced_key(settings, migrate):
    settings.DEBUG = True
    ApiKey.objects.ensure_development()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE referrer (key uuid REFERENCES apikeys_apikey DEFERRABLE INITIALLY DEFERRED)")
        cursor.execute("INSERT INTO referrer SELECT id FROM apikeys_apikey")
    try:
        migrate("apikeys", "0001")
        left = rows()
        migrate()

        assert len(left) == 1
        assert [{name: row[name] for name in left[0]} for row in rows()] == left  # seeding again finds it
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE referrer")
