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
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import environ
import psycopg
import pytest
import yaml
from django.conf import settings

from lockngen import gunicorn
from lockngen.environment import BASE_DIR
from lockngen.tests.test_docs import variables

PROGRAMS = Path(sys.executable).parent
COMPOSE = (BASE_DIR / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<operator>[-?])(?P<word>[^{}]*)\}")


def instructions() -> dict[str, str]:
    """The Dockerfile's, the last of each name, which is that of the final stage."""
    text = re.sub(r"^#.*\n", "", (BASE_DIR / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return dict(line.split(" ", 1) for line in lines if line)


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(instructions()["ENV"]))


def health_command() -> list[str]:
    return json.loads(instructions()["HEALTHCHECK"].partition("CMD ")[2])


def services(**environment: str) -> dict:
    """The services as compose starts them in this environment."""
    return interpolate(
        yaml.safe_load(COMPOSE)["services"], {"SECRET_KEY": "not-a-secret-" + "0123456789" * 4, **environment}
    )


def interpolate(value, environment: dict[str, str]):
    if isinstance(value, dict):
        return {key: interpolate(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _look_up(environment, **found.groupdict()), value)
    return value


def _look_up(environment: dict[str, str], name: str, operator: str, word: str) -> str:
    if operator == "?" and not environment.get(name):
        raise LookupError(word)
    return environment.get(name) or word


def test_interpolate__as_compose_does():
    written = {"a": ["${SET:-default}", "${EMPTY:-default}", "${ABSENT:-}", "${SET:?say}", 1]}

    assert interpolate(written, {"SET": "x", "EMPTY": ""}) == {"a": ["x", "default", "", "x", 1]}


def test_dockerfile__passes_hadolint():
    hadolint = [PROGRAMS / "hadolint", "--failure-threshold", "style", "--no-color", "Dockerfile"]

    run = subprocess.run(hadolint, cwd=BASE_DIR, capture_output=True, text=True)

    assert (run.returncode, run.stdout) == (0, "")


def test_dockerfile__runs_as_somebody_else_than_root():
    user, group = instructions()["USER"].split(":")

    assert f"--gid {group} lockngen" in (BASE_DIR / "Dockerfile").read_text()
    assert f"--uid {user} " in (BASE_DIR / "Dockerfile").read_text()


def test_variables__all_have_default_or_message():
    assert "$" not in VARIABLE.sub("", COMPOSE)


def test_secret_key__is_demanded():
    with pytest.raises(LookupError, match="set SECRET_KEY to 50 or more random characters"):
        services(SECRET_KEY="")


def test_debug__is_off_whatever_dot_env_says():
    started = services(DEBUG="on", AUTO_MIGRATE="on", DATABASE_URL="postgres://elsewhere/db", PORT="9000")

    for name in ("migrate", "web", "worker"):
        environment = started[name]["environment"]
        assert (environment["DEBUG"], environment["AUTO_MIGRATE"]) == ("off", "off")
        assert urlsplit(environment["DATABASE_URL"]).hostname == "postgres"
        assert "PORT" not in environment


def test_environment__passes_on_every_setting():
    passed_on = {*services()["web"]["environment"], *image_environment()}

    assert variables() - passed_on == {"MEDIA_ROOT"}  # it follows from LOCKNGEN_DATA


@pytest.mark.parametrize(
    "environment", [{}, {"POSTGRES_DB": "pictures", "POSTGRES_USER": "painter", "POSTGRES_PASSWORD": "Oil.on-canvas_1"}]
)
def test_database_url__agrees_with_postgres(environment):
    started = services(**environment)
    made = started["postgres"]["environment"]

    for name in ("migrate", "web", "worker"):
        used = environ.Env.db_url_config(started[name]["environment"]["DATABASE_URL"])
        assert (used["HOST"], used["PORT"]) == ("postgres", 5432)
        assert used["NAME"] == made["POSTGRES_DB"]
        assert used["USER"] == made["POSTGRES_USER"]
        assert used["PASSWORD"] == made["POSTGRES_PASSWORD"]


def test_postgres__defaults():
    postgres = services()["postgres"]

    assert postgres["image"] == "postgres:16-alpine"
    assert postgres["environment"]["POSTGRES_DB"] == "lockngen"
    assert postgres["environment"]["POSTGRES_USER"] == "lockn"
    assert postgres["environment"]["POSTGRES_PASSWORD"] == "secret"
    assert postgres["restart"] == "unless-stopped"


def test_postgres__keeps_data_in_a_volume():
    assert services()["postgres"]["volumes"] == ["postgres_data:/var/lib/postgresql/data"]
    assert "postgres_data" in yaml.safe_load(COMPOSE)["volumes"]


def test_postgres__publishes_no_port():
    assert [name for name, service in services().items() if "ports" in service] == ["web"]


def test_postgres__health():
    check = {"interval": "5s", "timeout": "5s", "retries": 5}

    by_default = services()["postgres"]["healthcheck"]
    by_another_name = services(POSTGRES_USER="painter", POSTGRES_DB="pictures")["postgres"]["healthcheck"]

    assert by_default == {"test": ["CMD-SHELL", "pg_isready -U lockn -d lockngen"], **check}
    assert by_another_name == {"test": ["CMD-SHELL", "pg_isready -U painter -d pictures"], **check}


def test_migrate__runs_once_the_database_answers():
    migrate = services()["migrate"]

    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert migrate["restart"] == "no"


@pytest.mark.parametrize("name", ["web", "worker"])
def test_service__starts_after_migrations(name):
    service = services()[name]

    assert service["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
    }
    assert service["restart"] == "unless-stopped"


def test_web__is_published_on_port():
    assert services()["web"]["ports"] == ["8000:8000"]
    assert services(PORT="9000")["web"]["ports"] == ["9000:8000"]
    assert (image_environment()["BIND"], image_environment()["PORT"]) == ("0.0.0.0", "8000")


def test_images__are_shared_by_web_and_worker():
    folder = f"{image_environment()['LOCKNGEN_DATA']}/images"

    assert services()["web"]["volumes"] == services()["worker"]["volumes"] == [f"images:{folder}"]
    assert f"--owner lockngen --group lockngen {Path(folder).parent} {folder}" in (BASE_DIR / "Dockerfile").read_text()
    assert "images" in yaml.safe_load(COMPOSE)["volumes"]


def test_health__is_asked_of_the_web_alone():
    disabled = [name for name, service in services().items() if service.get("healthcheck") == {"disable": True}]

    assert disabled == ["migrate", "worker"]


def test_image__is_built_once():
    ours = {name: service for name, service in services().items() if name != "postgres"}

    assert {service["image"] for service in ours.values()} == {"lockngen"}
    assert [name for name, service in ours.items() if "build" in service] == ["migrate"]


def grace(name: str) -> int:
    return int(services()[name]["stop_grace_period"].removesuffix("s"))


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
        self.here = {"PATH": search_path(), "DATABASE_URL": database_url, "LOCKNGEN_DATA": str(data)}

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
