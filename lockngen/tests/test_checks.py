import pytest
from django.core.checks.registry import registry

from apikeys.checks import development_key_is_not_active
from generations.checks import renderer_is_known
from lockngen import checks

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
            {"WORKER_CONCURRENCY": checks.MOST_RENDERS_AT_ONCE},
            {"WORKER_CONCURRENCY": checks.MOST_RENDERS_AT_ONCE + 1},
            "lockngen.E002",
        ),
        (
            checks.trusted_proxies_are_addresses,
            {"TRUSTED_PROXIES": ["10.0.0.1", "::1", "10.0.0.0/8", "*"]},
            {"TRUSTED_PROXIES": ["10.0.0.1/8"]},
            "lockngen.E010",
        ),
        (checks.debug_is_off, {"DEBUG": False}, {"DEBUG": True}, "lockngen.E011"),
        (checks.secret_key_is_strong, {"SECRET_KEY": STRONG}, {"SECRET_KEY": "secret"}, "lockngen.E012"),
        (checks.secret_key_is_strong, {}, {"SECRET_KEY": "x" * 60}, "lockngen.E012"),
        (checks.secret_key_is_strong, {}, {"SECRET_KEY_FALLBACKS": ["secret"]}, "lockngen.E012"),
    ],
)
def test_check__tells_what_is_wrong_and_how_to_mend_it(settings, check, fine, wrong, id):
    settings.DB_POOL_MAX_SIZE = 4
    settings.SECRET_KEY = STRONG
    for name, value in fine.items():
        setattr(settings, name, value)
    assert check(None) == []

    for name, value in wrong.items():
        setattr(settings, name, value)
    (message,) = check(None)

    assert (message.id, bool(message.hint)) == (id, True)


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
        checks.trusted_proxies_are_addresses,
        renderer_is_known,
    ],
)
def test_check__is_one_that_manage_py_check_runs(check):
    assert check in registry.get_checks()


@pytest.mark.parametrize("check", [checks.debug_is_off, checks.secret_key_is_strong, development_key_is_not_active])
def test_check__is_one_of_a_deployment(check):
    assert check in registry.deployment_checks


def test_automatic_migrations__are_fine_in_development(settings):
    settings.DEBUG = settings.AUTO_MIGRATE = True

    assert checks.migrations_are_not_automatic_in_production(None) == []
