"""A worker and a double of ComfyUI as processes that are killed and restarted."""

import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
from PIL import Image
from procrastinate.contrib.django.models import ProcrastinateJob

from generations.models import Generation
from generations.status import Status
from lockngen.tests.support.processes import manage
from lockngen.tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
POLLING = ("--fetch-job-polling-interval", "0.2")


@pytest.fixture
def running_worker(double, image_folder, tmp_path):
    """Runs a worker that renders with the double."""

    @contextmanager
    def run():
        variables = {"RENDERER_URL": double.url, "DEFAULT_WORKFLOW": "blank", "RENDER_GRACE": "0"}
        variables |= {"MEDIA_ROOT": str(image_folder)}
        with (
            open(tmp_path / "log", "w") as log,
            # A retried job is fetched by polling.
            manage("procrastinate", "worker", *POLLING, variables=variables, stderr=log) as worker,
        ):
            yield worker

    return run


@pytest.fixture
def submit(key):
    return lambda width=64: Generation.objects.submit(api_key=key, prompt="a lighthouse", width=width, height=64)


def wait_until_finished(worker: subprocess.Popen, generations: list[Generation], seconds: float = 60) -> None:
    unfinished = Generation.objects.filter(pk__in=[generation.pk for generation in generations]).unfinished()
    wait_until(lambda: worker.poll() is not None or not unfinished.exists(), seconds)
    assert worker.poll() is None
    for generation in generations:
        generation.refresh_from_db()


def test_killed_server_and_stopped_worker__lose_no_generation(running_worker, double, submit, image_folder):
    """One test, as starting a worker takes seconds."""
    double.set(seconds=0.2)
    generations = [submit(width=64 + 8 * number) for number in range(6)]

    with running_worker() as worker:
        double.wait_for(lambda double: double.queue()[0])
        double.kill()
        double.start()
        wait_until_finished(worker, generations)
        double.set(is_held=True)
        last = submit()
        double.wait_for(lambda double: double.queue()[0] == [str(last.id)])
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0

    assert [(one.status, one.error_message) for one in generations] == [(Status.COMPLETED, None)] * 6
    for generation in generations:
        with Image.open(image_folder / generation.image_path) as image:
            image.load()
            assert image.size == (generation.width, 64)
    assert double.queue()[0] == [str(last.id)]
    last.refresh_from_db()
    assert (last.status, last.attempts, last.requeues) == (Status.PENDING, 1, 1)
    assert ProcrastinateJob.objects.get(queueing_lock=str(last.id)).status == "todo"


@pytest.mark.faults
def test_prompt__that_kills_the_server_fails_and_the_others_are_completed(running_worker, double, submit):
    double.set(seconds=0.2, error="crash", only='"width": 200')
    poison, *others = [submit(width) for width in (200, 64, 72, 80, 88)]
    crashes = 0

    with running_worker() as worker:
        while Generation.objects.filter(pk=poison.pk).unfinished().exists():
            if not double.is_running():
                crashes += 1
                double.start()
            time.sleep(0.05)
        wait_until_finished(worker, [poison, *others])

    # RENDER_MAX_ATTEMPTS, and once more if the server died before the prompt could be seen running.
    assert 3 <= crashes <= 4
    assert poison.error_message == (
        "Rendering failed after 3 attempts. The renderer was restarted and lost the prompt."
    )
    assert {other.status for other in others} == {Status.COMPLETED}
