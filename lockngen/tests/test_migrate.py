"""`manage.py migrate` from several processes at once, and after one of them was killed."""

import re
import subprocess
import time

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate as django_migrate
from django.db import connection
from django.test.utils import CaptureQueriesContext

from generations.models import Generation
from lockngen.exit_codes import DATABASE
from lockngen.management.commands.migrate import LOCK, Command, lock_owner
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.waiting import wait_until


@pytest.fixture
def start(start_migrate, empty_database):
    """Start a migrate of the empty database."""
    return lambda *arguments, **variables: start_migrate(*arguments, **{"DATABASE_URL": empty_database, **variables})


@pytest.mark.parametrize("count", [2, pytest.param(6, marks=pytest.mark.faults)])
def test_migrates_at_once__one_applies_and_the_others_wait(start, count):
    assert_one_applies([start() for _ in range(count)])


def assert_one_applies(migrators: list[subprocess.Popen]) -> None:
    outcomes = [(*migrator.communicate(timeout=60), migrator.returncode) for migrator in migrators]

    assert [code for _, _, code in outcomes] == [0] * len(migrators), outcomes
    assert sum("Applying generations.0001_initial... OK" in stdout for stdout, _, _ in outcomes) == 1
    assert sum("No migrations to apply." in stdout for stdout, _, _ in outcomes) == len(migrators) - 1
    assert any("Another migrate is running" in stderr for _, stderr, _ in outcomes)


@pytest.mark.faults
def test_killed_migrator__keeps_the_lock_until_its_statement_ends(start, empty_database):
    start("apikeys", "0001").communicate(timeout=60)
    with psycopg.connect(empty_database) as blocker, psycopg.connect(empty_database, autocommit=True) as observer:
        blocker.execute("LOCK TABLE apikeys_apikey")
        killed = start(DB_LOCK_TIMEOUT="60")
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: observer.execute(blocked).fetchone()[0] == 1)
        killed.kill()
        killed.communicate()

        follower = start()
        assert "Another migrate is running" in follower.stderr.readline()
        time.sleep(0.5)
        assert follower.poll() is None  # the dead one's statement still runs in the server
        blocker.rollback()
        stdout, stderr = follower.communicate(timeout=60)

    assert follower.returncode == 0, stderr
    assert "Applying apikeys.0002_seed_development_key... OK" in stdout


THROWAWAY = {"DJANGO_SETTINGS_MODULE": "lockngen.tests.throwaway.settings"}
CHANGES = """FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
             AND query ~ '^(CREATE|DROP|ALTER)'"""
INDEXES = """SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
             WHERE relname = 'pebble_by_weight' OR NOT indisvalid"""


@pytest.mark.parametrize("end", [pytest.param("finished", marks=pytest.mark.faults), "broken off"])
def test_killed_migrator__is_followed_by_another_during_its_index_build(start, empty_database, end):
    def migrate(*target: str) -> subprocess.Popen:
        return start("throwaway", *target, **THROWAWAY, DB_LOCK_TIMEOUT="0.3")  # shorter than the wait for the writer

    def changes() -> int:
        return observer.execute(f"SELECT count(*) {CHANGES}").fetchone()[0]

    migrate("0001").communicate(timeout=60)
    with psycopg.connect(empty_database) as writer, psycopg.connect(empty_database, autocommit=True) as observer:
        writer.execute("INSERT INTO throwaway_pebble DEFAULT VALUES")  # the index waits for its end
        killed = migrate()
        wait_until(lambda: changes() == 1)
        killed.kill()
        killed.communicate()

        follower = migrate()
        assert "Another migrate is running" in follower.stderr.readline()
        time.sleep(0.5)
        assert (changes(), follower.poll()) == (1, None)  # the dead one's statement still runs in the server
        if end == "broken off":
            observer.execute(f"SELECT pg_terminate_backend(pid) {CHANGES}")
        writer.commit()
        concurrency = []
        while follower.poll() is None:
            concurrency.append(changes())
            time.sleep(0.005)
        stdout, stderr = follower.communicate()
        indexes = observer.execute(INDEXES).fetchall()

    assert follower.returncode == 0, stderr
    assert "Applying throwaway.0002_pebble_by_weight... OK" in stdout
    assert ("Dropping the invalid index pebble_by_weight" in stderr) == (end == "broken off")
    assert max(concurrency) <= 1
    assert indexes == [("pebble_by_weight", True)]


@pytest.mark.faults
def test_database__that_does_not_exist_is_reported_in_one_line(start):
    migrator = start(DATABASE_URL="postgres://lockn:secret@127.0.0.1:1/lockngen")
    stdout, stderr = migrator.communicate(timeout=60)

    assert (migrator.returncode, stdout) == (DATABASE, "")
    assert re.fullmatch(r"The database can't be used: .*port 1 failed: Connection refused.*\n", stderr)


def test_password__that_is_wrong_is_reported_in_one_line(start, empty_database):
    migrator = start(DATABASE_URL=re.sub(":[^:@]+@", ":hunter2@", empty_database))
    stdout, stderr = migrator.communicate(timeout=60)

    assert (migrator.returncode, stdout) == (DATABASE, "")
    assert re.fullmatch(r"The database can't be used: .*password authentication failed.*\n", stderr)
    assert "hunter2" not in stderr


@pytest.mark.django_db(transaction=True)
def test_wait__ends_with_the_owner_of_the_lock(other, capsys):
    other.execute("SELECT pg_advisory_lock(%s)", [LOCK])

    with pytest.raises(CommandError, match=f"server process {other.info.backend_pid}.*has not ended after 0.3 seconds"):
        call_command("migrate", "--wait", "0.3")

    assert capsys.readouterr().err.count("Another migrate is running") == 1


@pytest.mark.django_db(transaction=True)
def test_wait__is_not_for_a_migrate_of_another_database():
    with psycopg.connect(database_url("postgres"), autocommit=True) as session:
        session.execute("SELECT pg_advisory_lock(%s)", [LOCK])

        assert lock_owner(connection) == "it is just ending"
        call_command("migrate", "--wait", "0", verbosity=0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("option", ["--plan", "--check"])
def test_plan_and_check__do_not_wait_for_the_lock(other, option):
    other.execute("SELECT pg_advisory_lock(%s)", [LOCK])

    call_command("migrate", option, "--wait", "0", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_migrate__may_take_long_but_not_wait_long_for_a_lock(monkeypatch):
    shown = []

    def show(self, *args, **options):
        for name in ("statement_timeout", "lock_timeout"):
            shown.extend(connection.query(f"SHOW {name}"))

    monkeypatch.setattr(django_migrate.Command, "handle", show)

    call_command("migrate")

    assert shown == [("0",), (f"{settings.DB_LOCK_TIMEOUT:g}s",)]


@pytest.mark.django_db(transaction=True)
def test_migrate__states_that_a_table_stayed_locked(monkeypatch, other):
    def alter(self, *args, **options):
        connection.query("SET lock_timeout = '10ms'")
        connection.query("ALTER TABLE apikeys_apikey ADD never boolean")

    monkeypatch.setattr(django_migrate.Command, "handle", alter)

    with other.transaction():
        other.execute("LOCK TABLE apikeys_apikey")
        with pytest.raises(CommandError, match=r"another transaction kept a table locked .* \(10 s\)") as caught:
            call_command("migrate")

    assert caught.value.returncode == DATABASE


@pytest.mark.django_db(transaction=True)
def test_migrate__shows_its_own_error_where_the_connection_was_lost(monkeypatch):
    def lose_the_connection(self, *args, **options):
        connection.connection.close()
        raise CommandError("The migration broke off.")

    monkeypatch.setattr(django_migrate.Command, "handle", lose_the_connection)

    with pytest.raises(CommandError, match="broke off"):
        call_command("migrate")

    connection.close()


@pytest.fixture
def ordinary_role():
    """The tests' connection as a role that may change no other one."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE pg_read_all_settings")
        yield
        cursor.execute("RESET ROLE")


@pytest.mark.django_db(transaction=True)
def test_timeouts__that_the_role_may_not_set_are_left_to_a_superuser(settings, ordinary_role, capsys):
    settings.DB_PGBOUNCER = True

    Command().set_role_timeouts(connection)

    stderr = capsys.readouterr().err
    assert "permission denied" in stderr
    assert stderr.count("\nALTER ROLE ") == 3


@pytest.mark.django_db(transaction=True)
def test_migrate__gives_lock_and_timeout_back(other):
    call_command("migrate", verbosity=0)

    assert other.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone() == (True,)
    assert connection.query("SHOW statement_timeout") == [(f"{settings.DB_STATEMENT_TIMEOUT:g}s",)]


@pytest.mark.django_db(transaction=True)
def test_invalid_index__is_reported_and_dropped(other, make_generation, capsys):
    make_generation(), make_generation()
    with pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON generations_generation (prompt)")

    with CaptureQueriesContext(connection) as captured:
        call_command("migrate", verbosity=0)

    assert 'DROP INDEX CONCURRENTLY IF EXISTS "broken"' in [query["sql"] for query in captured]
    assert "Dropping the invalid index broken" in capsys.readouterr().err
    assert other.execute("SELECT to_regclass('broken')").fetchone() == (None,)
    assert Generation.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_invalid_index__is_left_to_the_migrate_that_may_be_making_it(other, make_generation):
    make_generation(), make_generation()
    with pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON generations_generation (prompt)")
    other.execute("SELECT pg_advisory_lock(%s)", [LOCK])

    with pytest.raises(CommandError, match="has not ended"):
        call_command("migrate", "--wait", "0")

    assert other.execute("SELECT to_regclass('broken')").fetchone() == ("broken",)
    other.execute("DROP INDEX broken")


@pytest.mark.django_db(transaction=True)
def test_invalid_index__of_a_table_that_is_not_ours_stays(other):
    other.execute("CREATE TABLE stranger AS SELECT 7 AS value FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON stranger (value)")

    call_command("migrate", verbosity=0)

    assert other.execute("SELECT to_regclass('broken')").fetchone() == ("broken",)
    other.execute("DROP TABLE stranger")
