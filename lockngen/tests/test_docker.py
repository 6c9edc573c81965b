"""What Docker would do, as far as that can be told without it: its files are read, and their commands are run."""

import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import compose
import environ
import psycopg
import pytest
import yaml
from django.conf import settings

from lockngen import __version__, gunicorn
from lockngen.environment import BASE_DIR
from lockngen.tests.test_docs import variables

PROGRAMS = Path(sys.executable).parent
COMPOSE = "docker-compose.yml"
DOCKER_COMPOSE = Path(compose.__file__).parent / "docker-compose"  # its wrapper in bin always exits with 0
OURS = ["migrate", "web", "worker"]


def instructions() -> dict[str, str]:
    """The Dockerfile's, the last of each name, which is that of the final stage."""
    text = re.sub(r"^#.*\n", "", (BASE_DIR / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return dict(line.split(" ", 1) for line in lines if line)


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(instructions()["ENV"]))


def health_command() -> list[str]:
    return json.loads(instructions()["HEALTHCHECK"].partition("CMD ")[2])


def config(*files: str, env_file: str = "", **environment: str) -> subprocess.CompletedProcess:
    """What Docker Compose makes of the files, with this text as .env."""
    with tempfile.NamedTemporaryFile("w", suffix=".env") as dot_env:
        dot_env.write(env_file)
        dot_env.flush()
        options = [option for file in files or [COMPOSE] for option in ("--file", file)]
        arguments = [DOCKER_COMPOSE, "--env-file", dot_env.name, *options, "config", "--format", "json"]
        return subprocess.run(
            arguments, cwd=BASE_DIR, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
        )


def parsed(run: subprocess.CompletedProcess) -> dict:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.replace("$$", "$"))  # as it escapes what isn't a variable


@cache
def services(**environment: str) -> dict:
    """The services as Docker Compose starts them in this environment."""
    return parsed(config(**{"SECRET_KEY": "not-a-secret-" + "0123456789" * 4, **environment}))["services"]


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


def test_dockerfile__passes_hadolint():
    hadolint = [PROGRAMS / "hadolint", "--failure-threshold", "style", "--no-color", "Dockerfile"]

    run = subprocess.run(hadolint, cwd=BASE_DIR, capture_output=True, text=True)

    assert (run.returncode, run.stdout) == (0, "")


def test_dockerfile__runs_as_somebody_else_than_root():
    user, group = instructions()["USER"].split(":")

    assert f"--gid {group} lockngen" in (BASE_DIR / "Dockerfile").read_text()
    assert f"--uid {user} " in (BASE_DIR / "Dockerfile").read_text()


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


def test_health__is_asked_of_the_web_alone():
    disabled = [name for name, service in services().items() if service.get("healthcheck") == {"disable": True}]

    assert disabled == ["migrate", "worker"]


def test_image__is_built_once_where_it_is_looked_for():
    ours = {name: services()[name] for name in OURS}

    assert {service["image"] for service in ours.values()} == {f"lockngen:{__version__}"}
    assert [name for name, service in ours.items() if "build" in service] == ["web"]
    assert ours["web"]["build"]["tags"] == ["lockngen:latest"]


def test_image__is_labelled_with_the_version():
    labels = dict(pair.split("=", 1) for pair in shlex.split(instructions()["LABEL"]))

    assert labels["org.opencontainers.image.version"] == __version__


def test_image__has_an_init_that_forwards_early_signals():
    assert json.loads(instructions()["ENTRYPOINT"])[0] == "dumb-init"


def test_image__has_no_pip():
    text = (BASE_DIR / "Dockerfile").read_text()

    assert "venv --without-pip" in text
    assert "pip uninstall --yes" in text[text.rindex("FROM ") :]


def grace(name: str) -> int:
    return int(services()[name]["stop_grace_period"].removesuffix("s").replace("1m0", "60"))


def test_grace__is_longer_than_what_the_processes_take():
    assert grace("web") > gunicorn.graceful_timeout
    assert grace("worker") > settings.RENDER_GRACE


def command(name: str) -> list[str]:
    return services()[name].get("command") or json.loads(instructions()["CMD"])


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """/app as the Dockerfile leaves it: what .dockerignore lets in, and the static files."""
    app = tmp_path_factory.mktemp("app")
    rules = ignore_rules()
    ignored = shutil.ignore_patterns(*[rule.removeprefix("**/") for rule in rules if rule.startswith("**/")])
    for name in [rule[1:] for rule in rules if rule.startswith("!")]:
        source = BASE_DIR / name
        shutil.copytree(source, app / name, ignore=ignored) if source.is_dir() else shutil.copy(source, app)
    run = {**image_environment(), "PATH": search_path()}
    subprocess.run(["sh", "-c", instructions()["RUN"]], cwd=app, env=run, check=True, capture_output=True)
    return app


@pytest.fixture(scope="module")
def database_url():
    server = os.environ["DATABASE_URL"]
    name = f"test_compose_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def ignore_rules() -> list[str]:
    lines = (BASE_DIR / ".dockerignore").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_dockerignore__lets_in_what_it_names_alone(image):
    unwanted = [path for path in image.rglob("*") if path.name.startswith(".") or path.name in ("tests", "__pycache__")]

    assert ignore_rules()[0] == "*"
    assert unwanted == []


def search_path() -> str:
    return f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Containers:
    """Runs the commands of services with what is theirs, but for the addresses and folders of this machine."""

    def __init__(self, app: Path, database_url: str, data: Path):
        self.app, self.data = app, data
        self.here = {
            "PATH": search_path(),
            "DATABASE_URL": database_url,
            "LOCKNGEN_DATA": str(data),
            "WORKFLOWS_DIR": "",
        }

    def environment(self, name: str, port: int = 0) -> dict[str, str]:
        here = {**self.here, "BIND": "127.0.0.1", "PORT": str(port)}
        return {**image_environment(), **services()[name]["environment"], **here}

    def run(self, name: str, arguments: list[str], **environment: str) -> subprocess.CompletedProcess:
        everything = {**self.environment(name), **environment}
        return subprocess.run(arguments, cwd=self.app, env=everything, capture_output=True, text=True, timeout=60)

    @contextmanager
    def running(self, name: str, says: str, port: int = 0):
        """The process of a service, from when it has said so."""
        log = self.data / f"{name}-{secrets.token_hex(4)}.log"
        arguments = {"cwd": self.app, "env": self.environment(name, port), "stderr": subprocess.STDOUT}
        with log.open("w") as output:
            process = subprocess.Popen(command(name), stdout=output, **arguments)
        try:
            wait_for(lambda: says in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            print(log.read_text())
            if process.poll() is None:
                stop(process, name)


def stop(process: subprocess.Popen, name: str) -> int:
    """The exit code of a service that is stopped as Docker does it."""
    process.terminate()
    try:
        return process.wait(timeout=grace(name))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="module")
def containers(image, database_url, tmp_path_factory) -> Containers:
    containers = Containers(image, database_url, tmp_path_factory.mktemp("data"))
    migrated = containers.run("migrate", command("migrate"))
    assert migrated.returncode == 0, migrated.stderr
    return containers


@contextmanager
def running_web(containers):
    port = free_port()
    with containers.running("web", "Booting worker", port) as process:
        # gunicorn misses a SIGTERM while its workers boot, and then kills them after graceful_timeout.
        wait_for(lambda: containers.run("web", health_command(), PORT=str(port)).returncode == 0)
        yield process, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def web_and_process(containers):
    with running_web(containers) as (process, address):
        yield address, process


@pytest.fixture
def web(web_and_process) -> str:
    return web_and_process[0]


@pytest.mark.parametrize("path", ["/ht/live", "/ht/", "/", "/admin/login/", "/api/v1/docs"])
def test_web__answers_with_static_files(web, path):
    page = fetch(web + path)

    for link in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.decode()):
        assert fetch(web + link)


def fetch(address: str, token: str = "", body: dict | None = None) -> bytes:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, body and json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def test_worker__renders_what_the_web_takes_and_ends_in_time(containers, web):
    token = containers.run("web", ["python", "manage.py", "apikey", "create", "Test"]).stdout.strip()
    body = {"prompt": "a lighthouse at dusk", "width": 64, "height": 64}
    address = f"{web}/api/v1/generations"

    made = json.loads(fetch(address, token, body))
    with containers.running("worker", "Starting worker") as worker:
        image = wait_for(lambda: json.loads(fetch(f"{address}/{made['id']}", token))["image_url"])
        exit_code = stop(worker, "worker")

    assert fetch(image, token).startswith(b"\x89PNG")
    assert [path.stem for path in containers.data.glob("images/**/*.png")] == [f"{made['id']}-1"]
    assert exit_code == 0


def test_health__of_web(containers, web):
    port = str(urlsplit(web).port)
    proxy = f"http://127.0.0.1:{free_port()}"

    assert containers.run("web", health_command(), PORT=port, http_proxy=proxy).returncode == 0
    assert containers.run("web", health_command(), PORT=str(free_port())).returncode != 0


def test_web__ends_in_time(web_and_process):  # the last: the others need it
    assert stop(web_and_process[1], "web") == 0
