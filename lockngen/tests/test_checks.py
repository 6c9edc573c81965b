import pytest
from django.core.checks.registry import registry

from generations import checks as generation_checks
from lockngen import checks
from lockngen.environment import BASE_DIR


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
            {"WORKER_CONCURRENCY": checks.MOST_RENDERS_AT_ONCE},
            {"WORKER_CONCURRENCY": checks.MOST_RENDERS_AT_ONCE + 1},
            "lockngen.E002",
        ),
        (
            generation_checks.renderer_is_known,
            {"RENDERER_URL": "comfyuis://gpu.example.org?patience=5"},
            {"RENDERER_URL": "comfyui://gpu:port"},
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
            generation_checks.comfyui_authorization_fits_a_header,
            {"COMFYUI_AUTHORIZATION": "Bearer secret"},
            {"COMFYUI_AUTHORIZATION": "Bearer\nsecret"},
            "generations.E004",
        ),
    ],
)
def test_check__tells_what_is_wrong_and_how_to_mend_it(settings, check, fine, wrong, id):
    settings.DB_POOL_MAX_SIZE = 4
    for name, value in fine.items():
        setattr(settings, name, value)
    assert check(None) == []

    for name, value in wrong.items():
        setattr(settings, name, value)
    (message,) = check(None)

    assert (message.id, bool(message.hint)) == (id, True)


def test_broken_workflow__is_told_with_file_and_place(settings, tmp_path):
    settings.WORKFLOWS_DIR = str(tmp_path)
    (tmp_path / "own.json").write_text('{"1": {"class_type": "EmptyImage", "inputs": {"width": "{{breadth}}"}}}')

    (message,) = generation_checks.workflows_are_whole(None)

    assert message.id == "generations.E002"
    assert message.msg.startswith(f"{tmp_path}/own.json: ")


def test_workflow_s_defaults__keep_the_limits_of_clients(settings, tmp_path):
    text = (BASE_DIR / "generations/renderers/workflows/flux.json").read_text()
    settings.WORKFLOWS_DIR = str(tmp_path)
    (tmp_path / "own.json").write_text(text.replace('"steps": 20', '"steps": 2000'))

    (message,) = generation_checks.workflows_are_whole(None)

    assert "workflow own, lockngen.steps: " in message.msg


def test_static_files__are_missed_where_pages_need_them(settings, tmp_path):
    assert checks.static_files_are_collected(None) == []  # a development checkout serves them from where they are

    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    (message,) = checks.static_files_are_collected(None)

    assert (message.id, "collectstatic" in message.hint) == ("lockngen.W001", True)


@pytest.mark.parametrize(
    "check",
    [
        checks.pool_sizes_fit,
        checks.worker_concurrency_has_threads,
        checks.migrations_are_not_automatic_in_production,
        checks.static_files_are_collected,
        generation_checks.renderer_is_known,
        generation_checks.workflows_are_whole,
        generation_checks.default_workflow_is_there,
        generation_checks.comfyui_authorization_fits_a_header,
    ],
)
def test_check__is_one_that_manage_py_check_runs(check):
    assert check in registry.get_checks()


def test_automatic_migrations__are_fine_in_development(settings):
    settings.DEBUG = settings.AUTO_MIGRATE = True

    assert checks.migrations_are_not_automatic_in_production(None) == []
