"""Generations rendered by the real task on a double of ComfyUI, whatever happens to either on the way."""

import json
import threading
from io import BytesIO
from uuid import uuid4

import pytest
from django.db import connection
from PIL import Image
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason

from generations import renderers, tasks
from generations.models import Generation
from generations.renderers import RendererFailure, RendererUnavailable, pool
from generations.status import Status
from generations.tests.support.comfyui.process import Double
from lockngen.tests.conftest import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def comfyui(double, settings, monkeypatch):
    settings.RENDERER_URL = [double.url]
    settings.DEFAULT_WORKFLOW = "blank"
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    yield
    renderers._pool_of.cache_clear()


@pytest.fixture
def other(tmp_path):
    """Another server."""
    other = Double(free_port(), tmp_path)
    yield other
    other.stop()


@pytest.fixture
def make_generation(make_generation):
    return lambda **fields: make_generation(**{"width": 64, "height": 64, **fields})


@pytest.fixture
def run_until(double, run):
    """Run the task, and do something once its prompt runs on the server."""

    def run_until(generation, act) -> None:
        def wait_and_act() -> None:
            double.wait_for(lambda double: str(generation.id) in double.queue()[0])
            act()
            connection.close()

        other = threading.Thread(target=wait_and_act)
        other.start()
        try:
            run(generation)
        finally:
            other.join()

    return run_until


@pytest.fixture
def stop_while_rendering(double, run, make_context):
    """Run the task in a worker that is told to stop while the prompt runs."""

    def stop(generation) -> None:
        context = make_context()
        context.should_abort = lambda: bool(double.queue()[0])
        context.abort_reason = lambda: AbortReason.SHUTDOWN
        with pytest.raises(JobAborted):
            run(generation, context)

    return stop


def test_generation__is_completed_with_its_picture(make_generation, run, image_folder):
    generation = make_generation(width=128, seed=0xFF8000)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    with Image.open(image_folder / generation.image_path) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (128, 64), (255, 128, 0))


def test_generation__is_served_as_comfyui_has_stored_it(make_generation, run, double, api):
    """Byte by byte, and so with the prompt and the parameters that ComfyUI writes into its images."""
    generation = make_generation(seed=7)

    run(generation)

    (made,) = (double.folder / "lockngen").glob(f"{generation.id}_*.png")
    served = api.get(f"/api/v1/generations/{generation.id}/image").getvalue()
    assert served == made.read_bytes()
    with Image.open(BytesIO(served)) as image:
        graph = json.loads(image.text["prompt"])
    assert graph["1"]["inputs"]["width"] == 64


def test_generation__keeps_the_kind_of_image_that_was_made(make_generation, run, double, api):
    double.set(image="webp")
    generation = make_generation()

    run(generation)

    answer = api.get(f"/api/v1/generations/{generation.id}/image")
    assert (answer["Content-Type"], answer.getvalue()[8:12]) == ("image/webp", b"WEBP")


def test_refused_graph__fails_at_once_with_the_nodes_errors(make_generation, run, double):
    generation = make_generation(width=20000)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.FAILED, 1)
    assert generation.error_message == (
        "The renderer refused the workflow: EmptyImage: Value 20000 bigger than max of 16384 (width)."
    )


def test_out_of_memory__is_tried_again_and_reported_in_the_end(make_generation, run, double, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    double.set(error="oom")
    generation = make_generation()

    with pytest.raises(RendererFailure):
        run(generation)
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 1)
    run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.FAILED, 2)
    assert generation.error_message == ("Rendering was tried 2 times without success. The renderer ran out of memory.")
    names = [prompt["prompt"]["2"]["inputs"]["filename_prefix"] for prompt in double.prompts()]
    assert names == [f"lockngen/{generation.id}_1", f"lockngen/{generation.id}_2"]


def test_out_of_memory__that_passes_is_forgotten(make_generation, run, double):
    double.set(error="oom")
    generation = make_generation()
    with pytest.raises(RendererFailure):
        run(generation)
    double.set()

    run(generation)

    assert generation.status == Status.COMPLETED


def test_renderer_that_dies__is_not_named_to_clients(make_generation, run_until, double, settings):
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{double.port}?patience=0.1"]
    settings.RENDER_MAX_ATTEMPTS = 1
    double.set(seconds=5)
    generation = make_generation()

    run_until(generation, double.kill)

    assert generation.status == Status.FAILED
    assert generation.error_message == ("Rendering was tried 1 times without success. The renderer can't be reached.")


def test_renderer_that_dies__leaves_the_picture_to_another(make_generation, run, run_until, double, other, settings):
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{double.port}?patience=0.1", other.url]
    double.set(seconds=5)
    generation = make_generation()

    with pytest.raises(RendererFailure):
        run_until(generation, double.kill)
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 2)
    assert len(other.prompts()) == 1


def test_next_attempt__adopts_its_prompt_wherever_that_is(
    make_generation, run, stop_while_rendering, double, other, settings
):
    double.set(seconds=1)
    generation = make_generation()
    stop_while_rendering(generation)

    settings.RENDERER_URL = [other.url, double.url]
    run(generation)

    assert (generation.status, other.prompts(), len(double.prompts())) == (Status.COMPLETED, [], 1)


def test_renderer_that_is_away__costs_no_try(make_generation, run, double, monkeypatch):
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT", 0.1)
    double.kill()
    generation = make_generation()

    with pytest.raises(RendererUnavailable):
        run(generation)

    assert (generation.status, generation.attempts, generation.counted_attempts) == (Status.PENDING, 1, 0)


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_cancelled__is_interrupted_on_the_server_and_nothing_else_is(make_generation, run_until, double, end):
    double.set(seconds=4)
    generation, other = make_generation(), str(uuid4())

    def cancel() -> None:
        double.submit(other)
        getattr(Generation.objects.get(pk=generation.pk), end)()

    run_until(generation, cancel)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    double.wait_for(lambda double: double.queue() == ([other], []))
    assert [call["body"] for call in double.calls("POST", "/interrupt")] == [{"prompt_id": str(generation.id)}]


def test_timed_out__is_interrupted_on_the_server(make_generation, run, double, settings):
    settings.RENDER_TIMEOUT = 0.5
    double.set(seconds=5)
    generation = make_generation()

    run(generation)

    assert (generation.status, generation.error_message) == (
        Status.FAILED,
        "Rendering took longer than 0.5 seconds.",
    )
    double.wait_for(lambda double: double.queue() == ([], []))
    assert double.history()[str(generation.id)]["status"]["status_str"] == "error"


def test_stopped_worker__leaves_the_prompt_to_the_next(make_generation, run, stop_while_rendering, double):
    double.set(seconds=2)
    generation = make_generation()

    stop_while_rendering(generation)
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)
    assert double.queue()[0] == [str(generation.id)]
    run(generation)

    assert generation.status == Status.COMPLETED
    assert len(double.prompts()) == 1


def test_cancelled_between_two_attempts__is_interrupted_as_well(make_generation, run, stop_while_rendering, double):
    double.set(seconds=4)
    generation = make_generation()
    stop_while_rendering(generation)

    generation.cancel()
    run(generation)

    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.calls("POST", "/interrupt")) == 1


def test_given_up__is_interrupted_as_well(make_generation, run, stop_while_rendering, double, settings):
    settings.RENDER_MAX_ATTEMPTS = 1
    double.set(seconds=4)
    generation = make_generation()
    stop_while_rendering(generation)
    generation.start()  # a worker that died without a word

    run(generation)

    assert generation.status == Status.FAILED
    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.calls("POST", "/interrupt")) == 1


def test_overtaken__leaves_the_prompt_to_who_overtook_it(make_generation, run_until, double):
    double.set(seconds=2)
    generation = make_generation()

    run_until(generation, lambda: Generation.objects.get(pk=generation.pk).start())

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)
    assert double.queue()[0] == [str(generation.id)]
    assert double.calls("POST", "/interrupt") == []


def test_worker_that_died__costs_no_second_render(make_generation, run, stop_while_rendering, double):
    double.set(seconds=0.5)
    generation = make_generation()
    stop_while_rendering(generation)
    generation.start()  # a worker that died without a word

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 3)
    assert len(double.prompts()) == 1


def test_server_that_forgot_it__renders_it_again(make_generation, run, stop_while_rendering, double):
    double.set(seconds=1)
    generation = make_generation()
    stop_while_rendering(generation)
    double.kill()
    double.start()

    run(generation)

    assert generation.status == Status.COMPLETED
