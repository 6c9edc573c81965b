"""One LockN Gen as the renderer of another: two services of real processes, each with a database of its own."""

import json
from pathlib import Path

import pytest
from django.db import connection

from generations.models import Generation
from lockngen.tests.support.databases import database_url, new_database
from lockngen.tests.support.keys import insert_key
from lockngen.tests.support.processes import WORKER, Process, free_port
from lockngen.tests.support.waiting import wait_until
from lockngen.tests.support.web import Caller, Web

URL = "/api/v1/generations"
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64}

pytestmark = pytest.mark.django_db(transaction=True)


class Service:
    """The web and a worker of a LockN Gen on a database."""

    def __init__(self, folder: Path, database: str, **variables: str):
        folder.mkdir()
        variables |= {"DATABASE_URL": database, "MEDIA_ROOT": str(folder / "images"), "RENDER_GRACE": "0"}
        self.web = Web(free_port(), folder / "web.log", workers=1, **variables)
        self.worker = Process(WORKER, folder / "worker.log", self.web.environment)
        self.web.wait_until_ready()

    def call(self, token: str, path: str, body: dict | None = None) -> dict:
        with Caller(self.web.port, token) as caller:
            answer = caller.ask(path, body and json.dumps(body))
        assert answer.status < 300, answer.body
        return json.loads(answer.body)

    def ended(self, token: str, id: str) -> dict:
        """The generation once it has ended."""

        def read() -> dict | None:
            found = self.call(token, f"{URL}/{id}?wait=20")
            return found if found["status"] in ("completed", "failed") else None

        return wait_until(read, 60, self.worker.output)

    def restart_worker(self, **variables: str) -> None:
        self.worker.process.terminate()
        assert self.worker.wait() == 0, self.worker.output()
        self.worker.environment = {**self.worker.environment, **variables}
        self.worker.start()

    def close(self) -> None:
        self.worker.kill()
        self.web.kill()


@pytest.fixture(scope="module")
def upstream(django_db_setup, django_db_blocker, tmp_path_factory):
    """The service that renders. Its attribute `token` is that of a key."""
    with django_db_blocker.unblock():
        connection.close()
        connection.close_pool()
        name = connection.settings_dict["NAME"]
    with new_database(name) as database:  # migrated, and without rows
        service = Service(tmp_path_factory.mktemp("up") / "up", database, RENDERER_URL="sketch:")
        service.token = insert_key(database, "downstream")
        yield service
        service.close()


@pytest.fixture(scope="module")
def downstream(upstream, django_db_blocker, tmp_path_factory):
    """The service on the tests' database, which renders with the other one."""
    url = f"openai://127.0.0.1:{upstream.web.port}"
    with django_db_blocker.unblock():
        folder = tmp_path_factory.mktemp("down") / "down"
        service = Service(folder, database_url(), RENDERER_URL=url, OPENAI_RENDERER_KEY=upstream.token)
    yield service
    service.close()


def test_generation__is_the_one_of_the_other_service(upstream, downstream, key):
    fields = {"prompt": "a lighthouse", "negative_prompt": "fog", "width": 128, "height": 64, "steps": 9, "guidance": 2}

    models = downstream.call(key.token, "/api/v1/models")["items"]
    submitted = downstream.call(key.token, URL, fields)
    made = downstream.ended(key.token, submitted["id"])
    rendered = upstream.call(upstream.token, URL)["items"][0]

    assert (models[0]["name"], models[0]["is_default"]) == ("sketch", True)
    assert (made["status"], made["model"]) == ("completed", "sketch")
    for name in ("prompt", "negative_prompt", "width", "height", "steps", "guidance", "seed", "model"):
        assert made[name] == rendered[name]
    assert made["seed"] is not None
    assert made["image"]["sha256"] == rendered["image"]["sha256"]


@pytest.mark.faults
def test_next_attempt__gets_the_image_of_the_interrupted_one(upstream, downstream, key):
    upstream.restart_worker(RENDERER_URL="sketch:?seconds=3")
    before = len(upstream.call(upstream.token, URL)["items"])
    submitted = downstream.call(key.token, URL, SMALL)
    wait_until(lambda: len(upstream.call(upstream.token, URL)["items"]) > before, 30, downstream.worker.output)

    downstream.restart_worker()
    made = downstream.ended(key.token, submitted["id"])

    assert made["status"] == "completed"
    assert len(upstream.call(upstream.token, URL)["items"]) == before + 1
    generation = Generation.objects.get()
    assert (generation.attempts, generation.counted_attempts) == (2, 1)


@pytest.mark.faults
def test_failure__has_the_message_of_the_other_service(upstream, downstream, key):
    upstream.restart_worker(RENDERER_URL="sketch:?fail=1")

    submitted = downstream.call(key.token, URL, SMALL)
    failed = downstream.ended(key.token, submitted["id"])

    assert failed["status"] == "failed"
    assert "The sketch renderer is set to fail." in failed["error"]
    assert Generation.objects.get().attempts == 1


@pytest.mark.faults
def test_service_that_is_away__is_waited_for(upstream, downstream, key):
    upstream.restart_worker(RENDERER_URL="sketch:")
    upstream.web.kill()

    submitted = downstream.call(key.token, URL, SMALL)
    wait_until(lambda: "unavailable: it refuses the connection" in downstream.worker.output(), 30)
    upstream.web.start()
    made = downstream.ended(key.token, submitted["id"])

    assert made["status"] == "completed"
    assert Generation.objects.get().counted_attempts == 1
