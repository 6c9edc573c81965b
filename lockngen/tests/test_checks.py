from inspect import getmembers, isfunction, signature
from unittest.mock import Mock

import pytest
from django.conf import settings
from django.core.checks import WARNING
from django.core.checks.registry import registry
from django.db import OperationalError, connection

from apikeys import checks as apikeys_checks
from generations import checks as generation_checks
from lockngen import checks
from lockngen.environment import BASE_DIR
from lockngen.storage import s3_checks

STRONG = "".join(chr(97 + number % 26) for number in range(60))


@pytest.mark.parametrize(
    ("check", "fine", "wrong", "id"),
    [
        (checks.pool_sizes_fit, {"DB_POOL_MIN_SIZE": 4}, {"DB_POOL_MIN_SIZE": 5}, "lockngen.E001"),
        (
            checks.migrations_are_not_automatic_in_production,
            {"AUTO_MIGRATE": False},
            {"AUTO_MIGRATE": True},
            "lockngen.E003",
        ),
        (
            checks.worker_concurrency_has_threads,
            {"WORKER_CONCURRENCY": settings.MAX_CONCURRENT_RENDERS},
            {"WORKER_CONCURRENCY": settings.MAX_CONCURRENT_RENDERS + 1},
            "lockngen.E002",
        ),
        (
            checks.trusted_proxies_are_addresses,
            {"TRUSTED_PROXIES": ["10.0.0.1", "::1", "10.0.0.0/8", "*"]},
            {"TRUSTED_PROXIES": ["10.0.0.1/8"]},
            "lockngen.E007",
        ),
        (checks.debug_is_off, {"DEBUG": False}, {"DEBUG": True}, "lockngen.E008"),
        (checks.secret_key_is_strong, {"SECRET_KEY": STRONG}, {"SECRET_KEY": "secret"}, "lockngen.E009"),
        (checks.secret_key_is_strong, {}, {"SECRET_KEY": "x" * 60}, "lockngen.E009"),
        (checks.secret_key_is_strong, {}, {"SECRET_KEY_FALLBACKS": ["secret"]}, "lockngen.E009"),
        (
            generation_checks.renderers_are_known,
            {"RENDERER_URL": ["sketch:", "comfyuis://gpu.example.org?patience=5"]},
            {"RENDERER_URL": ["comfyui://gpu:port", "sketch:"]},
            "generations.E001",
        ),
        (
            generation_checks.workflows_are_whole,
            {"WORKFLOWS_DIR": ""},
            {"WORKFLOWS_DIR": "/nowhere"},
            "generations.E002",
        ),
        (
            generation_checks.default_workflow_is_there,
            {"DEFAULT_WORKFLOW": "flux"},
            {"DEFAULT_WORKFLOW": "fluxx"},
            "generations.E003",
        ),
        (
            generation_checks.authorizations_fit_a_header,
            {"COMFYUI_AUTHORIZATION": "Bearer secret"},
            {"COMFYUI_AUTHORIZATION": "Bearer\nsecret"},
            "generations.E004",
        ),
        (
            generation_checks.authorizations_fit_a_header,
            {"OPENAI_RENDERER_KEY": "gpu=secret,sk-other"},
            {"OPENAI_RENDERER_KEY": "sk-é"},
            "generations.E004",
        ),
        (
            generation_checks.keys_have_a_renderer,
            {"RENDERER_URL": ["sketch:", "openai://gpu"], "OPENAI_RENDERER_KEY": "gpu:8000=a,gpu=b,c"},
            {"OPENAI_RENDERER_KEY": "gpu:8001=secret"},
            "generations.I005",
        ),
        (
            generation_checks.renderers_are_known,
            {"RENDERER_URL": ["openai://gpu?steps=9&guidance=0.5"]},
            {"RENDERER_URL": ["openai://gpu?steps=900"]},
            "generations.E001",
        ),
        (
            generation_checks.webhook_hosts_are_hosts,
            {"WEBHOOK_ALLOWED_HOSTS": ["n8n", "Hooks.Example.Org", "127.0.0.1", "::1", "10.0.0.0/8", "fc00::/7", "*"]},
            {"WEBHOOK_ALLOWED_HOSTS": ["http://n8n"]},
            "generations.E005",
        ),
    ],
)
def test_check__shows_what_is_wrong_and_the_remedy(settings, check, fine, wrong, id):
    settings.DB_POOL_MAX_SIZE = 4
    settings.SECRET_KEY = STRONG
    for name, value in fine.items():
        setattr(settings, name, value)
    assert list(check(None)) == []

    for name, value in wrong.items():
        setattr(settings, name, value)
    (message,) = check(None)

    assert (message.id, bool(message.hint)) == (id, True)


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([], "RENDERER_URL: it names no renderer."),
        (["sketch:", "sketch:"], "RENDERER_URL: number 2: it is listed twice; "),
        (["sketch:", "comfyui://me:secret@gpu"], "RENDERER_URL: number 2: it contains a password: "),
        (["dalle:"], "RENDERER_URL: 'dalle:' names no renderer: "),
        (["openai://gpu?width=100"], "RENDERER_URL: the option width: Input should be a multiple of 8"),
    ],
)
def test_renderers__that_can_not_be_are_reported_by_their_place(settings, urls, expected):
    settings.RENDERER_URL = urls

    (message,) = generation_checks.renderers_are_known(None)

    assert message.msg.startswith(expected)
    assert "secret" not in message.msg


@pytest.mark.parametrize(
    ("direct", "expected"),
    [
        ({"HOST": "elsewhere", "PORT": 5432}, None),
        ({}, "it is not set"),
        (settings.DATABASES["default"], "it is the server of DATABASE_URL"),
    ],
    ids=["elsewhere", "missing", "the same"],
)
def test_pgbouncer__needs_a_direct_url(settings, direct, expected):
    settings.DATABASE_DIRECT = direct
    assert list(checks.direct_url_bypasses_pgbouncer(None)) == []

    settings.DB_PGBOUNCER = True
    messages = list(checks.direct_url_bypasses_pgbouncer(None))

    assert [message.id for message in messages] == (["lockngen.E006"] if expected else [])
    assert all(expected in message.msg and "DATABASE_DIRECT_URL" in message.hint for message in messages)


def test_timeouts__that_are_not_in_force_are_reported(db, settings):
    assert list(checks.timeouts_are_in_force(None, databases=["default"])) == []

    settings.DB_TIMEOUTS = {"lock_timeout": 7}
    (message,) = checks.timeouts_are_in_force(None, databases=["default"])

    assert (message.id, message.msg) == ("lockngen.W002", "Not in force: lock_timeout is 10000 ms, not 7.")
    assert (message.is_serious(WARNING), "DB_PGBOUNCER=on" in message.hint) == (True, True)


def test_timeouts__that_are_not_in_force_behind_pgbouncer_are_no_error(db, settings):
    settings.DB_PGBOUNCER, settings.DB_TIMEOUTS = True, {"lock_timeout": 7}

    (message,) = checks.timeouts_are_in_force(None, databases=["default"])

    assert (message.is_serious(WARNING), message.hint) == (False, "Run manage.py migrate.")


def test_timeouts__are_not_read_without_database_checks(settings):
    assert list(checks.timeouts_are_in_force(None)) == []


def test_broken_workflow__is_reported_with_file_and_place(settings, tmp_path):
    settings.WORKFLOWS_DIR = str(tmp_path)
    (tmp_path / "own.json").write_text('{"1": {"class_type": "EmptyImage", "inputs": {"width": "{{breadth}}"}}}')

    (message,) = generation_checks.workflows_are_whole(None)

    assert (message.id, message.is_serious(WARNING)) == ("generations.I001", False)
    assert message.msg.startswith(f"{tmp_path}/own.json: ")


def test_workflow_s_defaults__keep_the_limits_of_clients(settings, tmp_path):
    text = (BASE_DIR / "generations/renderers/workflows/flux.json").read_text()
    settings.WORKFLOWS_DIR = str(tmp_path)
    (tmp_path / "own.json").write_text(text.replace('"steps": 20', '"steps": 2000'))

    (message,) = generation_checks.workflows_are_whole(None)

    assert "workflow own, lockngen.steps: " in message.msg


def test_static_files__that_are_missing_are_reported(settings, tmp_path):
    assert list(checks.static_files_are_collected(None)) == []  # a development checkout serves them from where they are

    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    (message,) = checks.static_files_are_collected(None)

    assert (message.id, "collectstatic" in message.hint) == ("lockngen.W001", True)


@pytest.mark.parametrize("module", [checks, s3_checks, generation_checks, apikeys_checks])
def test_check__is_one_that_manage_py_check_runs(module):
    functions = [function for _, function in getmembers(module, isfunction) if function.__module__ == module.__name__]
    written = {function for function in functions if "app_configs" in signature(function).parameters}

    assert written
    assert written <= set(registry.get_checks(include_deployment_checks=True))


@pytest.mark.parametrize(
    "check", [checks.debug_is_off, checks.secret_key_is_strong, apikeys_checks.development_key_is_not_active]
)
def test_check__is_one_of_a_deployment(check):
    assert check in registry.deployment_checks


def test_automatic_migrations__are_fine_in_development(settings):
    settings.DEBUG = settings.AUTO_MIGRATE = True

    assert list(checks.migrations_are_not_automatic_in_production(None)) == []


@pytest.fixture
def room(db) -> int:
    """How many connections the tests' server has for us."""
    ((connections,),) = connection.query("SHOW max_connections")
    return int(connections) - 3  # superuser_reserved_connections


def test_pools__may_use_all_connections_of_the_server_and_not_more(settings, room):
    settings.WEB_WORKERS, settings.WORKER_CONCURRENCY = 1, 1
    settings.DB_POOL_MAX_SIZE = room - checks.LISTEN_CONNECTIONS - 1 - checks.QUEUE_CONNECTIONS
    assert list(checks.pools_fit_the_server(None, databases=["default"])) == []

    settings.DB_POOL_MAX_SIZE += 1
    (message,) = checks.pools_fit_the_server(None, databases=["default"])

    assert message.id == "lockngen.E005"
    assert f"take {room + 1} connections, and the server has {room}" in message.msg


def test_pools__are_not_compared_without_database_checks(settings):
    settings.DB_POOL_MAX_SIZE = 10_000

    assert (
        list(checks.pools_fit_the_server(None, databases=None)) == []
    )  # a query would be refused: no fixture allows it


def test_pools__are_not_compared_with_an_unavailable_server(settings, db, monkeypatch):
    settings.DB_POOL_MAX_SIZE = 10_000
    away = Mock(side_effect=OperationalError("no route"))

    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", away)
        messages = list(checks.pools_fit_the_server(None, databases=["default"]))

    assert messages == []


def test_persistent_connections__are_refused_beside_the_pool(settings, monkeypatch):
    assert list(checks.no_connections_persist_beside_the_pool(None)) == []

    monkeypatch.setitem(settings.DATABASES["default"], "CONN_MAX_AGE", 60)
    (message,) = checks.no_connections_persist_beside_the_pool(None)

    assert (message.id, bool(message.hint)) == ("lockngen.E004", True)


def test_workflow_of_several_images__is_warned_of(settings, tmp_path):
    text = (BASE_DIR / "generations/renderers/workflows/flux.json").read_text()
    settings.WORKFLOWS_DIR = str(tmp_path)
    (tmp_path / "own.json").write_text(text.replace('"batch_size": 1', '"batch_size": 4'))

    (message,) = generation_checks.workflows_are_whole(None)

    assert (message.id, message.is_serious(WARNING)) == ("generations.I002", False)
    assert "node 5 (EmptySD3LatentImage): its batch_size is 4; a generation holds one image" in message.msg
