"""Sessions that stay read-only after a failover: refused with 503, replaced, and writable again within seconds."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from django.db import InternalError, NotSupportedError, connection
from psycopg.conninfo import conninfo_to_dict

from lockngen.database.base import DatabaseWrapper
from lockngen.database.embedded import Server
from lockngen.queue import make_pool
from lockngen.tests.support.databases import database_url
from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.processes import free_port
from lockngen.tests.support.waiting import wait_until
from lockngen.tests.support.web import Caller, Web

pytestmark = pytest.mark.timeout(120)
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
WRITE, READ_UNLOGGED = "INSERT INTO kept VALUES (1)", "SELECT * FROM counted"


@pytest.fixture
def standby():
    """A standby with a table, an unlogged one beside it, and a function that promotes it."""
    with open_folder() as folder:
        server = Server(Path(folder) / "data")
        url = server.acquire()
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("CREATE TABLE kept (x int); CREATE UNLOGGED TABLE counted (x int)")
        server._pg_ctl("stop", "-m", "fast")
        signal = server.cluster / "standby.signal"
        signal.touch()
        url = server.acquire()
        yield url
        server.release()


@pytest.fixture
def wrapper(standby, settings, django_db_blocker):
    parts = conninfo_to_dict(standby)
    given = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]
    wrapper = DatabaseWrapper(
        {
            **connection.settings_dict,
            **{ours: parts[theirs] for ours, theirs in given.items()},
            # Without room to grow: a connection that is opened during a drain is a new one to the pool.
            "OPTIONS": {"pool": {**pool, "min_size": 2, "max_size": 2}},
        },
        alias="standby",
    )
    with django_db_blocker.unblock():
        yield wrapper
        wrapper.close()
        wrapper.close_pool()


def run(wrapper: DatabaseWrapper, statement: str) -> None:
    try:
        with wrapper.cursor() as cursor:
            cursor.execute(statement)
    finally:
        wrapper.close()


def test_pool__replaces_the_sessions_of_a_standby(standby, wrapper):
    def sessions() -> set[int]:
        with psycopg.connect(standby) as session:
            return {pid for (pid,) in session.execute(SESSIONS)}

    for statement, error in {WRITE: InternalError, READ_UNLOGGED: NotSupportedError}.items():
        run(wrapper, "SELECT 1")
        wrapper.pool.wait()
        before = sessions()
        assert len(before) == 2

        with pytest.raises(error):
            run(wrapper, statement)

        wait_until(lambda before=before: not before & sessions(), seconds=5)

    with psycopg.connect(standby, autocommit=True) as session:
        session.execute("SELECT pg_promote()")
    run(wrapper, WRITE)
    run(wrapper, READ_UNLOGGED)


@pytest.mark.django_db(transaction=True)
def test_pool_of_a_worker__replaces_read_only_sessions():
    async def fail_and_write() -> None:
        params = conninfo_to_dict(database_url())
        async with make_pool(kwargs=params, min_size=1, max_size=1, open=False) as pool:
            async with pool.connection() as session:
                await session.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                async with pool.connection() as session:
                    await session.execute("CREATE TABLE written (x int)")
            async with pool.connection() as session:
                await session.execute("CREATE TABLE written (x int)")
                await session.execute("DROP TABLE written")

    asyncio.run(fail_and_write())


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_web__answers_503_while_it_is_read_only_and_comes_back(make_key, tmp_path):
    key, name = make_key(), connection.settings_dict["NAME"]
    web = Web(free_port(), tmp_path / "log", workers=1, DB_RETRY_TIMEOUT="0.2")
    web.wait_until_ready()
    body = json.dumps({"prompt": "a lighthouse"})

    def ask() -> tuple[int, int]:
        with Caller(web.port, key.token) as caller:
            return caller.ask("/api/v1/generations", body).status, caller.ask("/ht/").status

    with psycopg.connect(database_url(name), autocommit=True) as operator:
        try:
            assert ask() == (201, 200)
            operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert ask() == (503, 500)
        finally:
            operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        wait_until(lambda: ask() == (201, 200), 5, web.output)
        web.stop()
    connection.close()
