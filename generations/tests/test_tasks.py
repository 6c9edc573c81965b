"""The render task: one attempt, its outcome, and what the queue does next."""

from io import BytesIO
from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from PIL import Image
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.utils import utcnow

from generations import tasks
from generations.renderers.base import WAITING, RenderError
from generations.status import Status
from generations.tests.support.encoded import PNG

# The task returns its connection while it renders, which would end the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


def test_render__stores_an_image_of_the_requested_size(make_generation, run, image_folder):
    generation = make_generation(width=128, height=64)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    with Image.open(image_folder / generation.image_path) as image:
        assert (image.format, image.size) == ("PNG", (128, 64))


def test_render__passes_the_parameters_to_the_renderer(make_generation, run, render_with):
    requests = []
    render_with(lambda request, progress: requests.append(request) or PNG)
    generation = make_generation(negative_prompt="fog", model="m", steps=7, guidance=1.5, seed=3)

    run(generation)

    (request,) = requests
    for name in ("id", "prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed"):
        assert getattr(request, name) == getattr(generation, name)


def test_render__fails_with_the_message_of_the_renderer(make_generation, run, render_with):
    def refuse(request, progress):
        raise RenderError("The image is too large.")

    render_with(refuse)
    generation = make_generation()

    run(generation)

    assert (generation.status, generation.error_message) == (Status.FAILED, "The image is too large.")


def test_unexpected_error__is_retried_until_the_last_attempt(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 3
    render_with(lambda request, progress: 1 / 0)
    generation = make_generation()

    for attempts in (1, 2):
        with pytest.raises(ZeroDivisionError):
            run(generation)
        assert (generation.status, generation.counted_attempts) == (Status.PENDING, attempts)
    run(generation)

    assert (generation.status, generation.attempts) == (Status.FAILED, 3)
    assert generation.error_message == "Rendering failed after 3 attempts."


def test_last_attempt__can_succeed(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 1
    render_with(lambda request, progress: PNG)
    generation = make_generation()

    run(generation)

    assert generation.status == Status.COMPLETED


def test_attempts_of_dead_workers__count(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    render_with(lambda request, progress: pytest.fail("It was rendered once more."))
    generation = make_generation()
    generation.start(), generation.start()  # by two workers that died

    run(generation)

    assert generation.status == Status.FAILED


def test_requeued_attempts__do_not_count(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    render_with(lambda request, progress: 1 / 0)
    generation = make_generation()
    for _ in range(2):
        generation.requeue(generation.start(), counts_as_attempt=False)

    with pytest.raises(ZeroDivisionError):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 1)


def test_worker_that_stops__requeues_the_generation(make_generation, make_context, run):
    generation = make_generation()

    with pytest.raises(JobAborted):
        run(generation, make_context(AbortReason.SHUTDOWN))

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_job_that_an_operator_aborts__cancels_the_generation(make_generation, make_context, run):
    generation = make_generation()

    run(generation, make_context(AbortReason.USER_REQUEST))

    assert generation.status == Status.CANCELLED


@pytest.mark.parametrize("error", [JobAborted, ZeroDivisionError])
def test_superseded_attempt__leaves_the_job_to_the_later_one(make_generation, make_context, run, render_with, error):
    generation = make_generation()

    def render(request, progress):
        generation.start()  # by another worker, which considers this one dead
        raise error

    render_with(render)
    run(generation, make_context(AbortReason.SHUTDOWN))  # an exception would retry the job

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)


def test_superseded_attempt__does_not_replace_the_image(make_generation, run, render_with):
    generation = make_generation()

    def render(request, progress):
        generation.start()  # by another worker, which considers this one dead
        generation.complete(2, default_storage.save("other.png", BytesIO(b"other")))
        return PNG

    render_with(render)
    run(generation)

    assert (generation.status, generation.image_path) == (Status.COMPLETED, "other.png")


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_render__discards_the_image_of_a_generation_cancelled_meanwhile(
    make_generation, run, render_with, stored_files, end
):
    generation = make_generation()

    def render(request, progress):
        getattr(generation, end)()
        return PNG

    render_with(render)
    run(generation)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    assert stored_files() == set()


def test_render__of_a_finished_or_removed_generation_does_nothing(make_generation, make_context, render_with):
    render_with(lambda request, progress: pytest.fail("It was rendered."))
    generation = make_generation()
    id = str(generation.id)
    generation.cancel()

    tasks.render(make_context(), id)
    generation.hard_delete()
    tasks.render(make_context(), id)


def test_render__holds_no_connection_while_the_renderer_works(make_generation, run, render_with, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    held = []

    def render(request, progress):
        held.append(connection.connection)
        progress(1)
        held.append(connection.connection)
        return PNG

    render_with(render)
    run(make_generation())

    assert held == [None, None]


def test_timeout__fails_the_generation(make_generation, run, settings):
    settings.RENDER_TIMEOUT = 0
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert "longer than 0 seconds" in generation.error_message


@pytest.mark.parametrize(
    ("waiting_timeouts", "message"), [(10, None), (0, "waited in the renderer's queue for longer than 0 seconds")]
)
def test_timeout__counts_from_the_start_of_the_render(
    make_generation, run, render_with, settings, monkeypatch, clock, waiting_timeouts, message
):
    monkeypatch.setattr(tasks, "WAITING_TIMEOUTS", waiting_timeouts)
    settings.RENDER_TIMEOUT = 200

    def render(request, progress):
        for percent in (WAITING, WAITING, 0, 50):
            progress(percent)
            clock.now += 120
        return PNG

    render_with(render)
    monkeypatch.setattr(tasks.AttemptMonitor, "is_current", lambda self, percent: True)
    generation = make_generation()
    run(generation)

    assert generation.status == (Status.FAILED if message else Status.COMPLETED)
    assert message is None or message in generation.error_message


def test_retry__waits_longer_after_each_attempt_up_to_a_minute():
    def wait(attempts: int, error: Exception) -> float:
        retry = tasks.render.get_retry_exception(error, SimpleNamespace(attempts=attempts))
        return (retry.retry_decision.retry_at - utcnow()).total_seconds()

    assert 0.4 <= wait(0, ValueError()) <= 1
    assert 3.9 <= wait(3, ValueError()) <= 8
    assert 29 <= wait(50, ValueError()) <= 60
    assert wait(3, JobAborted()) <= 0
