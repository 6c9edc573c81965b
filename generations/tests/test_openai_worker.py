"""A real worker process with a server that has OpenAI's images API."""

import time

import pytest

from generations.models import Generation
from generations.status import Status
from lockngen.tests.support.processes import manage
from lockngen.tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def work(images_api, tmp_path):
    """Start a worker that renders with the server."""

    def start():
        variables = {"RENDERER_URL": images_api.url, "OPENAI_RENDERER_KEY": "127.0.0.1=sk-secret", "RENDER_GRACE": "0"}
        with (tmp_path / "log").open("w") as log:
            return manage("procrastinate", "worker", variables=variables, stdout=log, stderr=log)

    return start


def status_of(generation: Generation) -> Status:
    generation.refresh_from_db()
    return generation.status


def test_worker__renders_listed_models_and_requeues_when_it_stops(images_api, work, key, tmp_path):
    images_api.key, images_api.models = "Bearer sk-secret", ["flux", "sdxl"]
    first = Generation.objects.submit(api_key=key, prompt="a lighthouse", model="sdxl", width=64, height=64)

    with work() as worker:
        wait_until(lambda: status_of(first) == Status.COMPLETED, 30)
        images_api.begun.clear()
        images_api.is_held = True
        second = Generation.objects.submit(api_key=key, prompt="a lighthouse", width=64, height=64)
        assert images_api.begun.wait(30)
        stopped_at = time.monotonic()
        worker.terminate()
        code = worker.wait(30)

    assert (code, time.monotonic() - stopped_at < 10) == (0, True)
    assert images_api.was_left.wait(5)
    assert [body["model"] for body in images_api.bodies] == ["sdxl", "flux"]
    assert (status_of(second), second.counted_attempts) == (Status.PENDING, 0)
    assert "sk-secret" not in (tmp_path / "log").read_text()
