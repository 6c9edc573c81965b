"""Migrations of our own apps: no drift, no danger, there and back again."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from apikeys.models import ApiKey
from generations.models import Generation

APPS = ("apikeys", "generations")
MIGRATIONS = sorted(name for name in MigrationLoader(None).disk_migrations if name[0] in APPS)
# What squawk warns of and we do on purpose.
ACCEPTED = {
    "prefer-text-field": "the lengths are part of the specification",
    "ban-char-field": "a digest in hex always has 64 characters",
    "prefer-bigint-over-int": "the integers are small, or specified as integers",
    "require-lock-timeout": "every connection has one: DB_LOCK_TIMEOUT",
    "require-statement-timeout": "every connection has one: DB_STATEMENT_TIMEOUT",
}


def schema() -> list[tuple]:
    """Every table, column, sequence, constraint, index, trigger and function of ours, as the catalogue has them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH ours AS (SELECT * FROM pg_class WHERE relname LIKE ANY(%(names)s)),
            tables AS (SELECT oid, relname, relpersistence, reloptions FROM ours WHERE relkind = 'r')
            SELECT relname, 'table', relpersistence::text, reloptions::text FROM tables
            UNION SELECT relname, 'column', attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
                attidentity, attgenerated, pg_get_expr(adbin, adrelid))
            FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
            LEFT JOIN pg_attrdef ON adrelid = tables.oid AND adnum = attnum
            UNION SELECT relname, 'sequence', relpersistence::text,
                concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
            FROM ours JOIN pg_sequence ON seqrelid = ours.oid
            UNION SELECT relname, 'constraint', conname, pg_get_constraintdef(pg_constraint.oid)
            FROM tables JOIN pg_constraint ON conrelid = tables.oid
            UNION SELECT tablename, 'index', indexname, indexdef FROM tables JOIN pg_indexes ON tablename = relname
            UNION SELECT relname, 'trigger', tgname, pg_get_triggerdef(pg_trigger.oid)
            FROM tables JOIN pg_trigger ON tgrelid = tables.oid AND NOT tgisinternal
            UNION SELECT proname, 'function', proname, pg_get_functiondef(oid) FROM pg_proc
            WHERE proname LIKE ANY(%(names)s) AND prokind = 'f'
            ORDER BY 1, 2, 3
            """,
            {"names": [f"{app}\\_%" for app in APPS]},
        )
        return cursor.fetchall()


def test_models__have_no_changes_without_a_migration(db):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.parametrize("app", APPS)
def test_migrations__are_numbered_in_one_line(app):
    names = [name for label, name in MIGRATIONS if label == app]

    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.django_db(transaction=True)  # nothing is built CONCURRENTLY inside of one
@pytest.mark.parametrize(("app", "name"), MIGRATIONS)
def test_migration__is_safe_on_a_large_table(app, name):
    sql = StringIO()
    call_command("sqlmigrate", app, name, stdout=sql)

    squawk = Path(sys.executable).parent / "squawk"
    done = subprocess.run(
        [squawk, "--pg-version", "16", "--reporter", "gcc", "--exclude", ",".join(ACCEPTED)],
        input=sql.getvalue(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.django_db(transaction=True)
def test_migrations__go_all_the_way_back_and_forth_with_data_in_the_tables(make_generation, settings):
    settings.DEBUG = True
    make_generation()
    before = schema()

    call_command("migrate", "apikeys", "zero", verbosity=0)
    emptied = schema()
    call_command("migrate", verbosity=0)

    assert len(before) > 50
    assert emptied == []
    assert schema() == before
    assert [key.name for key in ApiKey.objects.all()] == ["Development"]
    ApiKey.all_objects.all().hard_delete()


@pytest.mark.django_db(transaction=True)
def test_migrate__changes_nothing_the_second_time(make_generation, capsys):
    make_generation()
    before = schema()

    call_command("migrate")

    assert "No migrations to apply." in capsys.readouterr().out
    assert schema() == before
    assert Generation.objects.count() == 1
