"""A whole LockN Gen behind a real PgBouncer in transaction mode."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from statistics import median
from urllib.error import HTTPError

import psycopg
import pytest
from django.core.management import CommandError
from django.db import OperationalError, connection

from lockngen.database import timeouts
from lockngen.database.base import DatabaseWrapper
from lockngen.management.commands.migrate import refuse_pooler
from lockngen.tests.support.bouncer import PROGRAM, Bouncer
from lockngen.tests.support.dev import URL
from lockngen.tests.support.waiting import wait_until
from lockngen.tests.test_migrate import assert_one_applies

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer: apt-get install pgbouncer"),
]
TIMEOUTS = {"DB_STATEMENT_TIMEOUT": "31", "DB_LOCK_TIMEOUT": "11", "DB_IDLE_IN_TRANSACTION_TIMEOUT": "61"}
# The tests wait for what fails, and `dev` has migrated already.
IMPATIENCE = {"DB_POOL_TIMEOUT": "1", "DB_RETRY_TIMEOUT": "1", "AUTO_MIGRATE": "off"}


@pytest.fixture(scope="module")
def bouncer(dev_folder):
    folder = dev_folder / "bouncer"
    folder.mkdir()
    bouncer = Bouncer(folder)
    yield bouncer
    bouncer.close()


@pytest.fixture(scope="module")
def dev(bouncer, make_dev):
    return make_dev(**bouncer.variables(), **TIMEOUTS, **IMPATIENCE)


@pytest.fixture
def through(bouncer, settings, django_db_blocker):
    """One of Django's connections that leads through the bouncer, in a process with DB_PGBOUNCER."""
    settings.DB_PGBOUNCER = True
    address = {"USER": "lockn", "PASSWORD": bouncer.password, "HOST": "127.0.0.1", "PORT": bouncer.port}
    wrapper = DatabaseWrapper({**connection.settings_dict, **address, "NAME": "lockngen", "OPTIONS": {}})
    with django_db_blocker.unblock():
        yield wrapper
        wrapper.close()


def waits(dev, count: int) -> list[float]:
    """How many seconds prompts, one after the other, wait for their start."""
    done = [dev.wait_for(create(dev)["id"], "completed") for _ in range(count)]
    times = [[datetime.fromisoformat(one[name]) for name in ("created_at", "started_at")] for one in done]
    return [(started - created).total_seconds() for created, started in times]


def create(dev, seconds: float = 20) -> dict:
    """A new generation, as soon as possible; until then every response is 503 with Retry-After."""

    def try_to_create() -> dict | None:
        try:
            return dev.create(width=64, height=64)
        except HTTPError as error:
            if error.code != 503 or "Retry-After" not in error.headers:
                raise

    return wait_until(try_to_create, seconds, dev.output)


def wait_until_listening(dev, seconds: float = 40) -> None:
    wait_until(lambda: max(waits(dev, 2)) <= 2, seconds, dev.output)


def test_prompts_of_8_clients__share_few_sessions(bouncer, dev):
    with ThreadPoolExecutor(8) as clients:
        created = list(clients.map(lambda seed: dev.create(seed=seed, width=64, height=64), range(40)))
    done = [dev.wait_for(generation["id"], "completed") for generation in created]

    sessions = [server for server in bouncer.console("SHOW SERVERS") if server["database"] == "lockngen"]
    assert {generation["id"] for generation in done} <= {generation["id"] for generation in dev.newest()}
    assert len(sessions) >= 2
    assert bouncer.ask("SELECT count(*) FROM generations_generation WHERE status = 2 AND attempts = 1") == 40
    assert json.loads(dev.ask("/ht/?format=json"))["pool"] == "OK"
    assert "Traceback" not in dev.output()


def test_timeouts__are_those_of_the_settings_in_every_session(bouncer, dev):
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    sessions = [server for server in bouncer.console("SHOW SERVERS") if server["database"] == "lockngen"]

    with ExitStack() as held:
        # Each keeps its session until all are queried.
        connections = [held.enter_context(psycopg.connect(bouncer.address())) for _ in sessions]
        found = [[one.execute(f"SHOW {name}").fetchone()[0] for name in names] for one in connections]

    assert found == [["31s", "11s", "61s"]] * len(sessions)


def test_worker__listens_on_a_connection_that_bypasses_pgbouncer(dev):
    assert median(waits(dev, 3)) < 2  # it polls every 5 s


def test_events__bypass_pgbouncer(dev):
    id = dev.create(width=64, height=64)["id"]
    started_at = time.monotonic()

    assert b"event: end" in dev.ask(f"{URL}/{id}/events")

    assert time.monotonic() - started_at < 4  # without them it polls every 5 s


ITERATE_WHILE_THE_SESSION_IS_TAKEN = """
import psycopg
from django.contrib.contenttypes.models import ContentType
types = ContentType.objects.iterator(chunk_size=1)
next(types)
with psycopg.connect({address!r}) as other:
    other.execute("SELECT 1")
    print(len(list(types)))
"""


def test_iterator__needs_no_session_of_its_own(bouncer, dev):
    code = ITERATE_WHILE_THE_SESSION_IS_TAKEN.format(address=bouncer.address())
    done = dev.manage("shell", "--verbosity=0", "-c", code)

    assert int(done.stdout) > 1, done.stderr


def test_mismatch__names_the_missing_step(bouncer, dev, through, settings):
    settings.DB_TIMEOUTS = {"statement_timeout": 32_000, "lock_timeout": 11_000}
    assert timeouts.find_mismatch(through) == ("statement_timeout is 31000 ms, not 32000", "Run manage.py migrate.")

    with through.cursor() as cursor:
        for statement in timeouts.statements_for_role(through):
            cursor.execute(statement)
    assert timeouts.find_mismatch(through) == ("statement_timeout is 31000 ms, not 32000", timeouts.RECONNECT)

    bouncer.console("RECONNECT")
    assert timeouts.find_mismatch(through) is None


def test_startup_options__are_refused_or_dropped_and_then_missed(bouncer, through, settings):
    settings.DB_PGBOUNCER, settings.DB_TIMEOUTS = False, {"lock_timeout": 5_000}
    through.settings_dict["OPTIONS"] = {"options": "-c lock_timeout=5s"}
    with pytest.raises(OperationalError, match="unsupported startup parameter"):
        timeouts.find_mismatch(through)

    bouncer.console("SET ignore_startup_parameters = 'options'")
    what, remedy = timeouts.find_mismatch(through)
    bouncer.console("SET ignore_startup_parameters = ''")

    assert "not 5000" in what
    assert "set DB_PGBOUNCER=on" in remedy


def test_migrate__refuses_to_work_through_it(dev, through):
    with pytest.raises(CommandError, match="set DATABASE_DIRECT_URL to the server itself"):
        refuse_pooler(through)


@pytest.mark.faults
def test_migrates_at_once__one_applies_and_the_others_wait(bouncer, start_migrate):
    bouncer.ask("CREATE DATABASE fresh", "postgres")

    assert_one_applies([start_migrate(**bouncer.variables("fresh")) for _ in range(3)])


@pytest.mark.faults
def test_restart_of_the_server__is_recovered_from(bouncer, dev):
    bouncer.stop_server()
    with pytest.raises(HTTPError, match="503"):
        dev.create()
    bouncer.start_server()

    assert create(dev)["status"] == "pending"
    wait_until_listening(dev)


def test_restart_of_the_bouncer__is_recovered_from(bouncer, dev):
    bouncer.stop()
    with pytest.raises(HTTPError, match="503"):
        dev.create()
    bouncer.start()

    assert create(dev)["status"] == "pending"
    wait_until_listening(dev)
