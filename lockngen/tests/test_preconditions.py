"""Databases and roles as operators make them: one line with the remedy, and nothing half made."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

import manage
from lockngen import exit_codes
from lockngen.database import preconditions
from lockngen.database.base import DatabaseWrapper
from lockngen.environment import BASE_DIR
from lockngen.management.commands.migrate import LOCK
from lockngen.tests.support.databases import database_url

PASSWORD = "hunter2"
COLUMNS = "(id int, app text, name text, applied timestamptz)"


@pytest.fixture
def server():
    with psycopg.connect(database_url("postgres"), autocommit=True) as server:
        yield server


@pytest.fixture
def role(server):
    name = f"ann_{secrets.token_hex(4)}"
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    server.execute(f"DROP ROLE {name}")


@pytest.fixture
def make_database(server, role):
    """A database that belongs to another role, as `CREATE DATABASE` of a superuser makes it."""
    made = []

    def make(options: str = "") -> str:
        made.append(f"test_rights_{secrets.token_hex(4)}")
        server.execute(f"CREATE DATABASE {made[-1]} {options}")
        return made[-1]

    yield make
    for name in made:
        with psycopg.connect(database_url(name), autocommit=True) as owner:
            owner.execute(f"DROP OWNED BY {role} CASCADE")
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def run_as(monkeypatch, capsys, settings, django_db_blocker):
    """Runs a command in this process; returns its exit code and what it prints to stderr."""
    monkeypatch.setattr(manage.signal, "signal", lambda *_: None)
    settings.DB_STARTUP_TIMEOUT, settings.AUTO_MIGRATE = 0.1, False

    def run(role: str, database: str, *arguments: str, password: str = PASSWORD) -> tuple[int | str, str]:
        monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
        with django_db_blocker.unblock(), default_connection(role, database, password):
            try:
                code = manage.run()
            except SystemExit as end:
                code = end.code
        error = capsys.readouterr().err
        if isinstance(code, str):  # which sys.exit prints
            code, error = 1, f"{error}{code}\n"
        assert PASSWORD not in error
        return code, error

    return run


@contextmanager
def default_connection(role: str, database: str, password: str) -> Iterator[None]:
    usual = connections["default"]
    options = {**usual.settings_dict["OPTIONS"], "pool": None}
    own = {"USER": role, "PASSWORD": password, "NAME": database, "OPTIONS": options}
    connections["default"] = DatabaseWrapper({**usual.settings_dict, **own})
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = usual


def run_process(role: str, database: str, *arguments: str) -> tuple[int, str]:
    """The same in a process of its own."""
    host = database_url(database).partition("@")[2]
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env={**os.environ, "DATABASE_URL": f"postgres://{role}:{PASSWORD}@{host}", "DB_STARTUP_TIMEOUT": "0.1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert PASSWORD not in done.stderr
    return done.returncode, done.stderr


def test_migrate__without_create_on_the_schema(role, make_database, run_as):
    database = make_database()
    with psycopg.connect(database_url(database), autocommit=True) as owner:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"

        code, error = run_process(role, database, "migrate")

        remedy = f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role}";'
        assert (code, error.count("\n"), error.endswith(f"{remedy}\n")) == (1, 1, True), error
        assert owner.execute(tables).fetchone() == (0,)
        assert owner.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone() == (True,)
        owner.execute("SELECT pg_advisory_unlock(%s)", [LOCK])

        owner.execute(remedy)
        assert run_as(role, database, "migrate", "contenttypes", "0001") == (0, "")
        before = owner.execute(tables).fetchone()
        owner.execute(f"REVOKE CREATE ON SCHEMA public FROM {role}")
        code, error = run_as(role, database, "migrate")

        assert (code, error.endswith(f"{remedy}\n")) == (1, True), error
        assert owner.execute(tables).fetchone() == before


@pytest.mark.parametrize(
    ("statement", "reason", "expected"),
    [
        ("ALTER ROLE {role} SET default_transaction_read_only = on", "The session is read-only", 1),
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "GRANT CONNECT ON DATABASE", exit_codes.DATABASE),
        ("ALTER ROLE {role} SET search_path = nowhere", "CREATE SCHEMA", 1),
    ],
)
def test_migrate__with_a_role_that_can_not(server, role, make_database, run_as, statement, reason, expected):
    database = make_database()
    server.execute(statement.format(role=role, database=database))

    code, error = run_as(role, database, "migrate")

    assert (code, error.count("\n"), reason in error) == (expected, 1, True), error


def test_migrate__refused_for_an_unforeseen_right_is_one_line(role, make_database, run_as):
    database = make_database()
    with psycopg.connect(database_url(database), autocommit=True) as owner:
        owner.execute(f"GRANT CREATE ON SCHEMA public TO {role}; CREATE TABLE django_migrations {COLUMNS}")

        code, error = run_as(role, database, "migrate")

    assert (code, error.count("\n"), "permission denied for table django_migrations" in error) == (1, 1, True), error


@pytest.mark.parametrize(
    ("database", "password", "reason"),
    [("nowhere", PASSWORD, "CREATE DATABASE"), ("postgres", "wrong", "Correct the user and password")],
)
def test_migrate__refused_connection_is_one_line_with_the_remedy(role, run_as, database, password, reason):
    code, error = run_as(role, database, "migrate", password=password)

    assert (code, error.count("\n"), reason in error) == (exit_codes.DATABASE, 1, True), error


@pytest.mark.parametrize("command", ["migrate", "waitdb", "prestart"])
def test_command__refuses_an_encoding_that_can_not_store_any_text(role, make_database, run_as, command):
    database = make_database("ENCODING 'SQL_ASCII' TEMPLATE template0")

    code, error = run_as(role, database, command)

    assert (code, error.count("\n"), f"{database} is SQL_ASCII, and UTF8 is required" in error) == (1, 1, True), error


def test_startup_options__refused_by_a_pooler():
    error = psycopg.OperationalError("FATAL: unsupported startup parameter: options")

    with pytest.raises(ImproperlyConfigured, match="set DB_PGBOUNCER=on, and DATABASE_DIRECT_URL") as caught:
        preconditions.refuse_startup_options(error)
    assert "\n" not in str(caught.value)
