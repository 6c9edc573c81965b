import threading
import time
from io import BytesIO
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from PIL import Image
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.utils import utcnow

from generations import renderers, tasks
from generations.models import Generation
from generations.renderers import RenderError
from generations.renderers.base import WAITING
from generations.status import Status
from generations.tests.support.encoded import PNG

# The task gives its connection back while it renders, which a test's own transaction would not survive.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def render_with(monkeypatch):
    """Let the renderer be a function of the request and its progress callback."""

    def use(function) -> None:
        monkeypatch.setattr(
            renderers,
            "get_pool",
            lambda: SimpleNamespace(render=function, cancel=lambda id: None, settle=lambda request: request),
        )

    return use


def test_render__stores_an_image_of_the_size_asked_for(make_generation, run, image_folder):
    generation = make_generation(width=128, height=64)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    with Image.open(image_folder / generation.image_path) as image:
        assert (image.format, image.size) == ("PNG", (128, 64))


def test_render__hands_the_renderer_what_was_asked_for(make_generation, run, render_with):
    asked = []
    render_with(lambda request, progress: asked.append(request) or PNG)
    generation = make_generation(negative_prompt="fog", model="m", steps=7, guidance=1.5, seed=3)

    run(generation)

    (request,) = asked
    for name in ("id", "prompt", "negative_prompt", "model", "width", "height", "steps", "guidance", "seed"):
        assert getattr(request, name) == getattr(generation, name)


def test_render__fails_with_the_renderer_s_own_words(make_generation, run, render_with):
    def refuse(request, progress):
        raise RenderError("The picture is too large.")

    render_with(refuse)
    generation = make_generation()

    run(generation)

    assert (generation.status, generation.error_message) == (Status.FAILED, "The picture is too large.")


def test_render__is_tried_again_after_an_unexpected_error(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 3
    render_with(lambda request, progress: 1 / 0)
    generation = make_generation()

    for tries in (1, 2):
        with pytest.raises(ZeroDivisionError):
            run(generation)
        assert (generation.status, generation.counted_attempts) == (Status.PENDING, tries)
    run(generation)

    assert (generation.status, generation.attempts) == (Status.FAILED, 3)
    assert generation.error_message == "Rendering was tried 3 times without success."


def test_render__gives_up_on_what_kills_its_workers(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    render_with(lambda request, progress: pytest.fail("It was rendered once more."))
    generation = make_generation()
    generation.start(), generation.start()  # two workers that died without a word

    run(generation)

    assert generation.status == Status.FAILED


def test_render__is_handed_back_by_a_worker_that_stops(make_generation, make_context, run):
    generation = make_generation()

    with pytest.raises(JobAborted):
        run(generation, make_context(AbortReason.SHUTDOWN))

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)


def test_render__ends_after_the_timeout(make_generation, run, settings):
    settings.RENDER_TIMEOUT = 0
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert "longer than 0 seconds" in generation.error_message


@pytest.mark.parametrize(
    ("times", "ends_with"), [(10, None), (0, "waited in the renderer's queue for longer than 0 seconds")]
)
def test_render__timeout_counts_from_the_begin(
    make_generation, run, render_with, settings, monkeypatch, times, ends_with
):
    monkeypatch.setattr(tasks, "WAITING_TIMEOUTS", times)
    settings.RENDER_TIMEOUT = 0.2
    generation = make_generation()

    def render(request, progress):
        for percent in (WAITING, WAITING, 0, 50):
            progress(percent)
            time.sleep(0.12)
        return PNG

    render_with(render)
    run(generation)

    assert generation.status == (Status.FAILED if ends_with else Status.COMPLETED)
    assert ends_with is None or ends_with in generation.error_message


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_render__drops_the_image_of_what_was_cancelled_meanwhile(make_generation, run, render_with, image_folder, end):
    generation = make_generation()

    def render(request, progress):
        getattr(generation, end)()
        return PNG

    render_with(render)
    run(generation)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    assert not [path for path in image_folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("end", ["cancel", "delete", "start"])
def test_render__stops_once_nobody_wants_it(make_generation, run, render_with, monkeypatch, end):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    generation = make_generation()

    def render(request, progress):
        progress(1)
        getattr(Generation.objects.get(pk=generation.pk), end)()
        progress(2)
        pytest.fail("It went on.")

    render_with(render)
    run(generation)

    assert generation.status == (Status.PROCESSING if end == "start" else Status.CANCELLED)


@pytest.mark.parametrize("error", [JobAborted, ZeroDivisionError])
def test_render__that_was_overtaken_leaves_the_job_to_the_other(make_generation, make_context, run, render_with, error):
    generation = make_generation()

    def render(request, progress):
        generation.start()  # another worker, which believes this one dead
        raise error

    render_with(render)
    run(generation, make_context(AbortReason.SHUTDOWN))  # raises nothing, so the queue starts nothing

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)


def test_render__whose_job_was_aborted_by_hand_is_cancelled(make_generation, make_context, run):
    generation = make_generation()

    run(generation, make_context(AbortReason.USER_REQUEST))

    assert generation.status == Status.CANCELLED


def test_render__leaves_the_image_alone_once_it_was_overtaken(make_generation, run, render_with):
    generation = make_generation()

    def render(request, progress):
        generation.start()  # another worker, which believes this one dead
        generation.complete(2, default_storage.save("other.png", BytesIO(b"other")))
        return PNG

    render_with(render)
    run(generation)

    assert (generation.status, generation.image_path) == (Status.COMPLETED, "other.png")


def test_render__has_nothing_to_do_for_what_is_finished_or_gone(make_generation, make_context, render_with):
    render_with(lambda request, progress: pytest.fail("It was rendered."))
    generation = make_generation()
    id = str(generation.id)
    generation.cancel()

    tasks.render(make_context(), id)
    generation.hard_delete()
    tasks.render(make_context(), id)


def test_retry__waits_longer_each_time_but_no_longer_than_a_minute():
    def wait(attempts: int, error: Exception) -> float:
        retry = tasks.render.get_retry_exception(error, SimpleNamespace(attempts=attempts))
        return (retry.retry_decision.retry_at - utcnow()).total_seconds()

    assert 0.4 <= wait(0, ValueError()) <= 1
    assert 3.9 <= wait(3, ValueError()) <= 8
    assert 29 <= wait(50, ValueError()) <= 60
    assert wait(3, JobAborted()) <= 0


def test_render__is_done_in_the_last_try_as_well(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 1
    render_with(lambda request, progress: PNG)
    generation = make_generation()

    run(generation)

    assert generation.status == Status.COMPLETED


def test_render__that_was_handed_back_has_all_its_tries(make_generation, run, render_with, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    render_with(lambda request, progress: 1 / 0)
    generation = make_generation()
    for _ in range(2):
        generation.requeue(generation.start(), counts_as_attempt=False)

    with pytest.raises(ZeroDivisionError):
        run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 1)


def test_render__holds_no_connection_while_it_paints(make_generation, run, render_with, monkeypatch):
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


def test_render__looks_once_in_a_while_whether_it_is_wanted(make_generation, run, render_with, monkeypatch):
    looks = []
    monkeypatch.setattr(tasks.AttemptMonitor, "is_current", lambda self, percent: looks.append(percent) or True)
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0.5)

    def render(request, progress):
        time.sleep(0.6)
        for percent in range(100):
            progress(percent)
        return PNG

    render_with(render)
    run(make_generation())

    assert looks == [0]


def test_render__goes_on_while_the_database_is_away(make_generation, run, render_with, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    for look in ("is_current", "publish"):
        monkeypatch.setattr(Generation, look, Mock(side_effect=OperationalError("the connection is lost")))
    generation = make_generation()

    def render(request, progress):
        progress(0)
        progress(1)
        return PNG

    render_with(render)
    run(generation)

    assert generation.status == Status.COMPLETED


def test_render__does_not_wait_for_a_database_that_does_not_answer(make_generation, run, render_with, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    over, looks, waited = threading.Event(), [], []
    for look in ("is_current", "publish"):
        monkeypatch.setattr(Generation, look, lambda *_: looks.append(True) or over.wait(20))

    def render(request, progress):
        started_at = time.monotonic()
        for percent in range(3):
            progress(percent)
        waited.append(time.monotonic() - started_at)
        over.set()
        return PNG

    render_with(render)
    run(make_generation())

    assert len(looks) == 1
    assert waited[0] < 2
