"""The tests use PostgreSQL: the server of DATABASE_URL, or the embedded one."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import django
import psycopg
import pytest

from lockngen import environment

# Without cached bytecode, pytest and each process that a test starts would compile all modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")
# Tests create and empty their own databases, directly on the server.
os.environ["DATABASE_URL"] = environment.secret("DATABASE_DIRECT_URL") or environment.secret("DATABASE_URL")
os.environ["DATABASE_DIRECT_URL"] = os.environ["DB_PGBOUNCER"] = ""
os.environ["DATABASE_URL_FILE"] = os.environ["DATABASE_DIRECT_URL_FILE"] = ""
os.environ["S3_BUCKET"] = ""  # and images in folders of their own
_resources = ExitStack()
_resources.enter_context(environment.development_database())
django.setup()

from django.db import connection  # noqa: E402  needs the set-up
from django.db.models.signals import post_migrate  # noqa: E402
from django.test import Client, TransactionTestCase  # noqa: E402
from procrastinate.contrib.django.models import ProcrastinateJob  # noqa: E402
from procrastinate.job_context import AbortReason  # noqa: E402
from xdist.scheduler import LoadFileScheduling  # noqa: E402

from apikeys import tokens  # noqa: E402
from apikeys.models import ApiKey  # noqa: E402
from generations.models import Generation  # noqa: E402
from generations.progress import notifications  # noqa: E402
from generations.scheduling.fair_share import FIRST  # noqa: E402
from lockngen import retry_policies  # noqa: E402
from lockngen.database.base import Connection  # noqa: E402
from lockngen.database.breaker import breaker  # noqa: E402
from lockngen.tests.support.embedded_servers import open_folder  # noqa: E402

if "TESTS_FOLDER" not in os.environ:  # the processes of xdist share that of the first
    os.environ["TESTS_FOLDER"] = str(_resources.enter_context(open_folder()))


def pytest_unconfigure() -> None:
    _resources.close()


class Scheduling(LoadFileScheduling):
    """Each file runs in one process, and so do all files of a folder whose tests share a server."""

    def _split_scope(self, nodeid: str) -> str:
        return next(filter(nodeid.startswith, SHARED_SERVERS), None) or super()._split_scope(nodeid)


SHARED_SERVERS = ("lockngen/tests/browser/", "lockngen/tests/clients/", "lockngen/tests/faults/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """All modules and tests exist until the end, so the garbage collector doesn't need to traverse them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start whole systems first: they take long, and at the end one process would wait for another's."""
    items.sort(key=lambda item: "db" in item.fixturenames or item.get_closest_marker("django_db") is not None)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """After the fixtures of each test. A test without the database may call code that uses an open connection."""
    if connection.connection is not None:  # in the event loop of playwright there is none, and Django refuses to close
        connection.close()


def let_tests_empty_the_audit(**_) -> None:
    """Transactional tests empty all tables, which a trigger of the audit log prevents."""
    if connection.query("SELECT 1 FROM pg_trigger WHERE tgname = 'keyevent_is_never_emptied'"):
        connection.query("ALTER TABLE apikeys_keyevent DISABLE TRIGGER keyevent_is_never_emptied")


post_migrate.connect(let_tests_empty_the_audit)


KEPT = {"django_content_type", "auth_permission"}  # Django recreates their rows when it empties them
# Not listed by Django, because their models are unmanaged.
QUEUE = {"procrastinate_events", "procrastinate_jobs", "procrastinate_periodic_defers", "procrastinate_workers"}
EMPTY_TABLES = """
    DO $$ DECLARE name text; has_rows boolean; BEGIN
        FOREACH name IN ARRAY string_to_array('{}', ' ') LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
            IF has_rows AND name = 'apikeys_keyevent' THEN EXECUTE format('TRUNCATE %I', name);
            ELSIF has_rows THEN EXECUTE format('DELETE FROM %I', name); END IF;
        END LOOP;
    END $$
"""


def empty_tables(test_case: TransactionTestCase) -> None:
    """After a transactional test. Django truncates all tables, few of which have rows: that took 0.1 s a test.

    Upstream would have to offer: a public method that empties the tables.
    """
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    connection.query(EMPTY_TABLES.format(" ".join(sorted((tables | QUEUE) - KEPT))))


TransactionTestCase._fixture_teardown = empty_tables


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The tests' database. Its commits don't wait for the disk: no test of this database stops its server."""
    with django_db_blocker.unblock():
        connection.query(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" SET synchronous_commit = off')
        connection.close()
        connection.close_pool()  # new connections have the setting


image_folder_numbers = count()


@pytest.fixture(autouse=True)
def image_folder(settings, tmp_path_factory):
    """Each test has its own image folder, which the storage creates if the test stores images."""
    settings.MEDIA_ROOT = tmp_path_factory.getbasetemp() / f"images-{next(image_folder_numbers)}"
    return settings.MEDIA_ROOT


@pytest.fixture(autouse=True)
def no_listener(monkeypatch):
    """Tests start no listener, which would leave a connection open, unless they use `listening`."""
    monkeypatch.setattr(notifications.listener, "start", lambda: None)


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request, settings):
    """Run a test with DEBUG on and off: errors are the same."""
    settings.DEBUG = request.param


@pytest.fixture(autouse=True)
def quick_settings(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a secure one takes half a second
    settings.WHITENOISE_AUTOREFRESH = True  # otherwise each test client reads all static files, for 20 ms


@pytest.fixture
def other(transactional_db):
    """A second connection to the tests' database."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        yield other


@pytest.fixture
def make_key(db):
    """Make a key whose token is in `key.token`."""

    def make(**fields) -> ApiKey:
        token = fields.pop("token", None) or tokens.make()
        fields = {"name": "Test", "key_hash": tokens.digest(token), "prefix": tokens.visible(token), **fields}
        key = ApiKey.objects.create(**fields)
        key.token = token
        return key

    return make


@pytest.fixture
def key(make_key) -> ApiKey:
    return make_key()


@pytest.fixture
def client_of():
    """An HTTP client that sends a key's token."""

    def make(key: ApiKey) -> Client:
        return Client(headers={"Authorization": f"Bearer {key.token}"}, raise_request_exception=False)

    return make


@pytest.fixture
def api(client_of, key) -> Client:
    """An HTTP client of `key`."""
    return client_of(key)


@pytest.fixture
def make_generation(key):
    """A generation without a job, in any state."""

    def make(**fields) -> Generation:
        return Generation.objects.create(**{"api_key": key, "prompt": "a lighthouse", **fields})

    return make


@pytest.fixture
def waiting_jobs(db):
    """The ids of the generations that have a job waiting."""

    def read() -> list[str]:
        jobs = ProcrastinateJob.objects.filter(task_name="generations.render", status="todo")
        return [job.args["generation_id"] for job in jobs]

    return read


@pytest.fixture(autouse=True)
def keep_breaker_closed(monkeypatch):
    """Simulated outages must not open this process's breaker, which other tests use."""
    monkeypatch.setattr(breaker, "report", lambda: None)


@pytest.fixture
def lose_commits(monkeypatch):
    """Lose the results of the next COMMITs, which are committed."""
    commit = Connection.commit

    def start(count: int) -> None:
        remaining = [None] * count

        def commit_and_lose(self):
            commit(self)
            if remaining:
                remaining.pop()
                self.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(Connection, "commit", commit_and_lose)

    return start


@pytest.fixture
def change_policy(monkeypatch):
    """Change values of a retry policy: `change_policy("STORAGE", first_pause=0)`."""

    def change(name: str, **values) -> None:
        monkeypatch.setattr(retry_policies, name, replace(getattr(retry_policies, name), **values))

    return change


@pytest.fixture
def make_context():
    """Make the context that the queue passes to a task; `abort=SHUTDOWN` is a worker that is stopping."""

    def make(abort: AbortReason | None = None) -> SimpleNamespace:
        return SimpleNamespace(
            job=SimpleNamespace(id=1, priority=FIRST), should_abort=lambda: bool(abort), abort_reason=lambda: abort
        )

    return make


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What runs tests that are coroutines."""
    return "asyncio"


@pytest.fixture(scope="module")
def web(request, django_db_setup, django_db_blocker, tmp_path_factory):
    """A real web of one process on the tests' database, for the tests of one module, which may have WEB_OPTIONS."""
    from lockngen.tests.support.processes import free_port
    from lockngen.tests.support.web import Web

    folder = tmp_path_factory.mktemp("web")
    options = {"workers": 1, "MEDIA_ROOT": str(folder), **getattr(request.module, "WEB_OPTIONS", {})}
    with django_db_blocker.unblock():
        web = Web(free_port(), folder / "log", **options)
    web.images = folder
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()
