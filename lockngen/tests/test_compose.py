"""docker-compose.yml as Docker Compose reads it; no engine is needed."""

import subprocess
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import environ
import pytest
import yaml
from django.conf import settings

from lockngen import __version__
from lockngen.environment import BASE_DIR
from lockngen.tests.dockerfiles import COMPOSE, OURS, config, grace, image_environment, parsed, services
from lockngen.tests.test_docs import variables
from lockngen.web import gunicorn


class StrictLoader(yaml.SafeLoader):
    """Refuses a mapping with two equal keys, as Docker does."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        if doubled := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"doubled keys: {doubled}", node.start_mark)
        return super().construct_mapping(node, deep)


def files_of_yaml() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.yml", "*.yaml"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )
    return [BASE_DIR / name for name in listed.stdout.split()] or list(BASE_DIR.glob("*.yml"))


@pytest.mark.parametrize("path", files_of_yaml(), ids=lambda path: path.name)
def test_yaml__has_no_doubled_key(path):
    assert yaml.load(path.read_text(), StrictLoader)


def test_strict_loader__refuses_a_doubled_key_at_any_depth():
    with pytest.raises(yaml.YAMLError, match="doubled keys"):
        yaml.load("a: [{b: {c: 1, c: 2}}]", StrictLoader)


def test_doubled_key__is_refused_by_docker_compose(tmp_path):
    (tmp_path / "doubled.yml").write_text("services: {a: {image: b, environment: {C: 1, C: 2}}}")

    run = config(str(tmp_path / "doubled.yml"))

    assert run.returncode != 0
    assert "already defined" in run.stderr


@pytest.mark.parametrize("environment", [{}, {"SECRET_KEY": ""}])
def test_secret_key__is_required(environment):
    run = config(**environment)

    assert run.returncode != 0
    assert "set SECRET_KEY to 50 or more random characters" in run.stderr


def test_env_file__of_development_does_not_leak_in():
    dot_env = """
        SECRET_KEY=x
        DEBUG=on
        AUTO_MIGRATE=on
        DATABASE_URL=postgres://elsewhere/db
        DATABASE_DIRECT_URL=postgres://elsewhere/db
        DATABASE_URL_FILE=/elsewhere
        DB_PGBOUNCER=on
        PORT=9000
        LOCKNGEN_DATA=/elsewhere
    """

    started = parsed(config(env_file=textwrap.dedent(dot_env)))["services"]

    for name in OURS:
        environment = started[name]["environment"]
        assert (environment["DEBUG"], environment["AUTO_MIGRATE"], environment["DB_PGBOUNCER"]) == ("off",) * 3
        assert [key for key, value in environment.items() if "elsewhere" in value] == []
        assert urlsplit(environment["DATABASE_URL"]).hostname == "postgres"
        assert "PORT" not in environment


def test_env_file__keeps_quoted_values_intact():
    started = parsed(config(env_file="SECRET_KEY='a$b #c\"d'\nPOSTGRES_PASSWORD='$x: @/#%41'"))["services"]

    for name in OURS:
        assert started[name]["environment"]["SECRET_KEY"] == 'a$b #c"d'
        assert started[name]["environment"]["POSTGRES_PASSWORD"] == "$x: @/#%41"
    assert started["postgres"]["environment"]["POSTGRES_PASSWORD"] == "$x: @/#%41"


def test_secrets__come_from_files(tmp_path):
    paths = {"SECRET_KEY_FILE": "./secrets/key", "POSTGRES_PASSWORD_FILE": "./secrets/password"}

    made = parsed(config(COMPOSE, "docker-compose.secrets.yml", SECRET_KEY="unused", **paths))

    assert made["secrets"]["secret_key"]["file"] == str(BASE_DIR / "secrets/key")
    assert made["secrets"]["postgres_password"]["file"] == str(BASE_DIR / "secrets/password")
    for name in ["postgres", *OURS]:
        environment = made["services"][name]["environment"]
        mounted = {secret["target"] for secret in made["services"][name]["secrets"]}
        assert environment["POSTGRES_PASSWORD"] == environment.get("SECRET_KEY", "") == ""
        assert {value for key, value in environment.items() if key.endswith("_FILE") and value} == mounted


def test_environment__passes_on_every_setting():
    passed_on = {*services()["web"]["environment"], *image_environment()}

    assert variables() - passed_on == {"MEDIA_ROOT"}  # it follows from LOCKNGEN_DATA


@pytest.mark.parametrize(
    "environment",
    [{}, {"POSTGRES_DB": "pictures", "POSTGRES_USER": "painter", "POSTGRES_PASSWORD": "Oil @ canvas/1#%"}],
)
def test_database_url__agrees_with_postgres(environment):
    started = services(**environment)
    made = started["postgres"]["environment"]

    for name in OURS:
        used = environ.Env.db_url_config(started[name]["environment"]["DATABASE_URL"])
        assert (used["HOST"], used["PORT"]) == ("postgres", 5432)
        assert used["NAME"] == made["POSTGRES_DB"]
        assert used["USER"] == made["POSTGRES_USER"]
        assert started[name]["environment"]["POSTGRES_PASSWORD"] == made["POSTGRES_PASSWORD"]


def test_postgres__defaults():
    postgres = services()["postgres"]

    assert postgres["image"] == "postgres:16-alpine"
    assert postgres["environment"]["POSTGRES_DB"] == "lockngen"
    assert postgres["environment"]["POSTGRES_USER"] == "lockn"
    assert postgres["environment"]["POSTGRES_PASSWORD"] == "secret"
    assert postgres["restart"] == "unless-stopped"


def mounts(name: str) -> dict[str, dict]:
    return {volume["target"]: volume for volume in services()[name]["volumes"]}


def test_postgres__keeps_data_in_a_volume():
    assert mounts("postgres")["/var/lib/postgresql/data"]["source"] == "postgres_data"


def test_postgres__publishes_no_port():
    assert [name for name, service in services().items() if "ports" in service] == ["web"]


def test_postgres__health():
    check = {"interval": "5s", "timeout": "5s", "retries": 5, "start_period": "2m0s"}

    by_default = services()["postgres"]["healthcheck"]
    by_another_name = services(POSTGRES_USER="painter", POSTGRES_DB="pictures")["postgres"]["healthcheck"]

    assert by_default == {"test": ["CMD-SHELL", "pg_isready -U lockn -d lockngen"], **check}
    assert by_another_name == {"test": ["CMD-SHELL", "pg_isready -U painter -d pictures"], **check}


def test_migrate__runs_once_the_database_answers():
    migrate = services()["migrate"]

    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy", "required": True}}
    assert migrate["restart"] == "no"


@pytest.mark.parametrize("name", ["web", "worker"])
def test_service__starts_after_migrations(name):
    service = services()[name]

    assert service["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully", "required": True},
        "postgres": {"condition": "service_healthy", "required": True},
    }
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", "8000")),
        ({"PORT": "9000", "BIND": "0.0.0.0"}, ("0.0.0.0", "9000")),
        ({"BIND": "[::1]"}, ("::1", "8000")),
    ],
)
def test_web__is_published_on_this_machine_by_default(environment, address):
    [port] = services(**environment)["web"]["ports"]

    assert (port["host_ip"], port["published"]) == address
    assert port["target"] == 8000
    assert (image_environment()["BIND"], image_environment()["PORT"]) == ("0.0.0.0", "8000")


def test_images__are_shared_by_web_and_worker():
    folder = f"{image_environment()['LOCKNGEN_DATA']}/images"

    assert {mounts(name)[folder]["source"] for name in OURS} == {"images"}
    assert f"--owner lockngen --group lockngen {Path(folder).parent} {folder}" in (BASE_DIR / "Dockerfile").read_text()


@pytest.mark.parametrize(("given", "source"), [({}, "workflows"), ({"WORKFLOWS_DIR": "mine"}, "mine")])
def test_workflows__are_mounted_read_only(given, source):
    for name in OURS:
        service = services(**given)[name]
        [mount] = [volume for volume in service["volumes"] if volume["type"] == "bind"]
        assert mount["source"] == str(BASE_DIR / source)
        assert mount["read_only"]
        assert mount["target"] == service["environment"]["WORKFLOWS_DIR"]


def test_services__have_no_more_rights_than_they_need():
    for service in services().values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"]
        assert "/tmp" in service["tmpfs"]
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


def test_comfyui__of_the_host_can_be_reached():
    assert {tuple(services()[name]["extra_hosts"]) for name in OURS} == {("host.docker.internal=host-gateway",)}


def test_healthcheck__is_disabled_for_all_but_the_web():
    disabled = [name for name, service in services().items() if service.get("healthcheck") == {"disable": True}]

    assert disabled == ["migrate", "worker"]


def test_image__is_built_by_the_web_and_used_by_all():
    ours = {name: services()[name] for name in OURS}

    assert {service["image"] for service in ours.values()} == {f"lockngen:{__version__}"}
    assert [name for name, service in ours.items() if "build" in service] == ["web"]
    assert ours["web"]["build"]["tags"] == ["lockngen:latest"]


def test_stop_grace_period__is_longer_than_the_processes_need():
    assert grace("web") > gunicorn.graceful_timeout
    assert grace("worker") > settings.RENDER_GRACE
