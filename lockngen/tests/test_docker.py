"""The Dockerfile, and each service's command run with its own environment, without Docker."""

import json
import re
import secrets
import shlex
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from apikeys import tokens
from lockngen import __version__
from lockngen.environment import BASE_DIR
from lockngen.tests.dockerfiles import (
    PROGRAMS,
    command,
    grace,
    health_command,
    image_environment,
    instructions,
    search_path,
    services,
)
from lockngen.tests.support.databases import new_database
from lockngen.tests.support.processes import Process, free_port
from lockngen.tests.support.waiting import wait_until


def test_dockerfile__passes_hadolint():
    hadolint = [PROGRAMS / "hadolint", "--failure-threshold", "style", "--no-color", "Dockerfile"]

    run = subprocess.run(hadolint, cwd=BASE_DIR, capture_output=True, text=True)

    assert (run.returncode, run.stdout) == (0, "")


def test_dockerfile__does_not_run_as_root():
    user, group = instructions()["USER"].split(":")

    assert f"--gid {group} lockngen" in (BASE_DIR / "Dockerfile").read_text()
    assert f"--uid {user} " in (BASE_DIR / "Dockerfile").read_text()


def test_image__is_labelled_with_the_version():
    labels = dict(pair.split("=", 1) for pair in shlex.split(instructions()["LABEL"]))

    assert labels["org.opencontainers.image.version"] == __version__


def test_image__has_an_init_that_forwards_early_signals():
    assert json.loads(instructions()["ENTRYPOINT"])[0] == "dumb-init"


def test_image__has_no_pip():
    text = (BASE_DIR / "Dockerfile").read_text()

    assert "venv --without-pip" in text
    assert "pip uninstall --yes" in text[text.rindex("FROM ") :]


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
def database():
    with new_database() as url:
        yield url


def ignore_rules() -> list[str]:
    lines = (BASE_DIR / ".dockerignore").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_dockerignore__includes_only_what_it_names(image):
    unwanted = [path for path in image.rglob("*") if path.name.startswith(".") or path.name in ("tests", "__pycache__")]

    assert ignore_rules()[0] == "*"
    assert unwanted == []


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
    def running(self, name: str, line: str, port: int = 0):
        """The process of a service, once it has written that line."""
        log = self.data / f"{name}-{secrets.token_hex(4)}.log"
        process = Process(command(name), log, self.environment(name, port), cwd=self.app)
        try:
            process.wait_until(lambda: line in process.output())
            yield process
        finally:
            print(process.output())
            if process.is_running():
                stop(process, name)


def stop(process: Process, name: str) -> int:
    """The exit code of a service that is stopped as Docker does it."""
    return process.stop(seconds=grace(name))


@pytest.fixture(scope="module")
def containers(image, database, tmp_path_factory) -> Containers:
    containers = Containers(image, database, tmp_path_factory.mktemp("data"))
    migrated = containers.run("migrate", command("migrate"))
    assert migrated.returncode == 0, migrated.stderr
    return containers


@contextmanager
def running_web(containers):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with containers.running("web", "Booting worker", port) as process:
        wait_until(lambda: answers(f"{address}/ht/live"))
        yield process, address


def answers(address: str) -> bool:
    with suppress(OSError):
        return bool(fetch(address))
    return False


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


def test_worker__renders_what_the_web_takes_and_ends_in_time(containers, database, web):
    token = tokens.make()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO apikeys_apikey (id, name, key_hash, prefix) VALUES (gen_random_uuid(), 'Test', %s, %s)",
            [tokens.digest(token), tokens.visible(token)],
        )
    body = {"prompt": "a lighthouse at dusk", "width": 64, "height": 64}
    address = f"{web}/api/v1/generations"

    made = json.loads(fetch(address, token, body))
    with containers.running("worker", "Starting worker") as worker:
        image = wait_until(lambda: json.loads(fetch(f"{address}/{made['id']}", token))["image_url"])
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
