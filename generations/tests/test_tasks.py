from io import BytesIO
from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from PIL import Image
from procrastinate.exceptions import JobAborted

from generations import tasks
from generations.renderers import RenderError
from generations.status import Status

# The task gives its connection back while it renders, which a test's own transaction would not survive.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def render_with(monkeypatch):
    """Let the renderer be a function of the request and its progress callback."""

    def use(function) -> None:
        monkeypatch.setattr(tasks, "_renderer", lambda url: SimpleNamespace(render=function))

    return use


@pytest.fixture
def run(make_context):
    """Run the task for a generation, as a worker would, and read the outcome back."""

    def run(generation, abort: bool = False) -> None:
        try:
            tasks.render(make_context(abort), str(generation.id))
        finally:
            generation.refresh_from_db()

    return run


def test_render__stores_an_image_of_the_size_asked_for(make_generation, run, image_folder):
    generation = make_generation(width=128, height=64)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    with Image.open(image_folder / generation.image_path) as image:
        assert (image.format, image.size) == ("PNG", (128, 64))


def test_render__hands_the_renderer_what_was_asked_for(make_generation, run, render_with):
    asked = []
    render_with(lambda request, progress: asked.append(request) or b"png")
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
        assert (generation.status, generation.tries) == (Status.PENDING, tries)
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


def test_render__is_handed_back_by_a_worker_that_stops(make_generation, run):
    generation = make_generation()

    with pytest.raises(JobAborted):
        run(generation, abort=True)

    assert (generation.status, generation.tries) == (Status.PENDING, 0)


def test_render__ends_after_the_timeout(make_generation, run, settings):
    settings.RENDER_TIMEOUT = 0
    generation = make_generation()

    run(generation)

    assert generation.status == Status.FAILED
    assert "longer than 0 seconds" in generation.error_message


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_render__drops_the_image_of_what_was_cancelled_meanwhile(make_generation, run, render_with, image_folder, end):
    generation = make_generation()

    def render(request, progress):
        getattr(generation, end)()
        return b"late"

    render_with(render)
    run(generation)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    assert not [path for path in image_folder.rglob("*") if path.is_file()]


def test_render__drops_the_file_when_cancelled_while_it_is_stored(make_generation, run, image_folder, monkeypatch):
    generation = make_generation(width=64, height=64)
    store = tasks.images.store

    def store_and_cancel(stored, image):
        path = store(stored, image)
        generation.cancel()
        return path

    monkeypatch.setattr(tasks.images, "store", store_and_cancel)
    run(generation)

    assert generation.status == Status.CANCELLED
    assert not [path for path in image_folder.rglob("*") if path.is_file()]


def test_render__leaves_the_image_alone_once_it_was_overtaken(make_generation, run, render_with):
    generation = make_generation()

    def render(request, progress):
        generation.start()  # another worker, which believes this one dead
        generation.complete(2, default_storage.save("other.png", BytesIO(b"other")))
        return b"late"

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
        decision = tasks.RenderRetry().get_retry_decision(exception=error, job=SimpleNamespace(attempts=attempts))
        from procrastinate.utils import utcnow

        return (decision.retry_at - utcnow()).total_seconds()

    assert 0.4 <= wait(0, ValueError()) <= 1
    assert 3.9 <= wait(3, ValueError()) <= 8
    assert 29 <= wait(50, ValueError()) <= 60
    assert wait(3, JobAborted()) <= 0
