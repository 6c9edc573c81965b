"""The render task with ComfyUI, whatever happens to the worker or the server."""

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
from generations.renderers import pool
from generations.renderers.base import RendererFailure, RendererUnavailable
from generations.renderers.comfyui import prompt
from generations.status import Status
from generations.tests.support.comfyui.process import Double
from lockngen.tests.support.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def comfyui(double, settings, monkeypatch):
    settings.RENDERER_URL = [double.url]
    settings.DEFAULT_WORKFLOW = "blank"
    monkeypatch.setattr(tasks, "CHECK_INTERVAL", 0)
    monkeypatch.setattr(prompt, "TICK", 0.05)
    yield
    renderers._pool_of.cache_clear()


@pytest.fixture(scope="module")
def other_process(tmp_path_factory):
    process = Double(free_port(), tmp_path_factory.mktemp("other"))
    yield process
    process.stop()


@pytest.fixture
def other(other_process) -> Double:
    """A second server."""
    other_process.reset()
    return other_process


@pytest.fixture
def make_generation(make_generation):
    return lambda **fields: make_generation(**{"width": 64, "height": 64, **fields})


@pytest.fixture
def run_until(double, run):
    """Run the task, and call a function once its prompt runs on the server."""

    def run_until(generation, act) -> None:
        def wait_and_act() -> None:
            double.wait_for(lambda double: str(generation.id) in double.queue()[0])
            act()
            connection.close()

        acting = threading.Thread(target=wait_and_act)
        acting.start()
        try:
            run(generation)
        finally:
            acting.join()

    return run_until


@pytest.fixture
def stop_while_rendering(double, run, make_context):
    """Run the task in a worker that stops while the prompt runs. The server holds the prompt."""

    def stop(generation) -> None:
        double.set(is_held=True)
        context = make_context()
        context.should_abort = lambda: bool(double.queue()[0])
        context.abort_reason = lambda: AbortReason.SHUTDOWN
        with pytest.raises(JobAborted):
            run(generation, context)

    return stop


def test_generation__is_completed_with_the_image_of_the_server(make_generation, run, double, image_folder, api):
    """Byte by byte, with the prompt and the parameters that ComfyUI writes into its images."""
    generation = make_generation(width=128, seed=0xFF8000)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 1)
    (made,) = (double.folder / "lockngen").glob(f"{generation.id}_*.png")
    assert (image_folder / generation.image_path).read_bytes() == made.read_bytes()
    served = api.get(f"/api/v1/generations/{generation.id}/image").getvalue()
    assert served == made.read_bytes()
    with Image.open(BytesIO(served)) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (128, 64), (255, 128, 0))
        assert json.loads(image.text["prompt"])["1"]["inputs"]["width"] == 128


def test_generation__keeps_the_format_of_the_server(make_generation, run, double, api):
    double.set(image="webp")
    generation = make_generation()

    run(generation)

    answer = api.get(f"/api/v1/generations/{generation.id}/image")
    assert (answer["Content-Type"], answer.getvalue()[8:12]) == ("image/webp", b"WEBP")


def test_refused_graph__fails_the_first_attempt_with_the_errors_of_its_nodes(make_generation, run):
    generation = make_generation(width=20000)

    run(generation)

    assert (generation.status, generation.attempts) == (Status.FAILED, 1)
    assert generation.error_message == (
        "The renderer refused the workflow: EmptyImage: Value 20000 bigger than max of 16384 (width)."
    )


def test_out_of_memory__is_retried_until_the_last_attempt(make_generation, run, double, settings):
    settings.RENDER_MAX_ATTEMPTS = 2
    double.set(error="oom")
    generation = make_generation()

    with pytest.raises(RendererFailure, match=r"^The renderer ran out of memory\.$"):
        run(generation)
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 1)
    run(generation)

    assert (generation.status, generation.counted_attempts) == (Status.FAILED, 2)
    assert generation.error_message == "Rendering failed after 2 attempts. The renderer ran out of memory."
    names = [prompt["prompt"]["2"]["inputs"]["filename_prefix"] for prompt in double.prompts()]
    assert names == [f"lockngen/{generation.id}_1", f"lockngen/{generation.id}_2"]


def test_out_of_memory__in_one_attempt_does_not_affect_the_next(make_generation, run, double):
    double.set(error="oom")
    generation = make_generation()
    with pytest.raises(RendererFailure):
        run(generation)
    double.set()

    run(generation)

    assert generation.status == Status.COMPLETED


def test_server_that_dies__is_replaced_by_another(make_generation, run, run_until, double, other, settings):
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{double.port}?patience=0.1", other.url]
    double.set(is_held=True)
    generation = make_generation()

    with pytest.raises(RendererFailure, match=r"^The renderer can't be reached\.$"):
        run_until(generation, double.kill)
    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 2)
    assert len(other.prompts()) == 1


def test_next_attempt__reuses_its_prompt_on_whichever_server_it_is(
    make_generation, run, stop_while_rendering, double, other, settings
):
    generation = make_generation()
    stop_while_rendering(generation)
    double.set()

    settings.RENDERER_URL = [other.url, double.url]
    run(generation)

    assert (generation.status, other.prompts(), double.prompts()) == (Status.COMPLETED, [], [])


def test_unavailable_server__does_not_count_as_an_attempt(make_generation, run, settings, monkeypatch):
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT", 0.1)
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{free_port()}"]
    generation = make_generation()

    with pytest.raises(RendererUnavailable):
        run(generation)

    assert (generation.status, generation.attempts, generation.counted_attempts) == (Status.PENDING, 1, 0)


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_cancelled__is_interrupted_on_the_server_and_no_other_prompt_is(make_generation, run_until, double, end):
    double.set(is_held=True)
    generation, other = make_generation(), str(uuid4())

    def cancel() -> None:
        double.submit(other)
        getattr(Generation.objects.get(pk=generation.pk), end)()

    run_until(generation, cancel)

    assert (generation.status, generation.image_path) == (Status.CANCELLED, None)
    double.wait_for(lambda double: double.queue() == ([other], []))
    assert [call["body"] for call in double.calls("POST", "/interrupt")] == [{"prompt_id": str(generation.id)}]


def test_timeout__interrupts_the_prompt_on_the_server(make_generation, run, double, settings):
    settings.RENDER_TIMEOUT = 0.3
    double.set(is_held=True)
    generation = make_generation()

    run(generation)

    expected = (Status.FAILED, "Rendering took longer than 0.3 seconds.")
    assert (generation.status, generation.error_message) == expected
    double.wait_for(lambda double: double.queue() == ([], []))
    assert double.history()[str(generation.id)]["status"]["status_str"] == "error"


def test_stopped_worker__leaves_its_prompt_to_the_next(make_generation, run, stop_while_rendering, double):
    generation = make_generation()

    stop_while_rendering(generation)
    assert (generation.status, generation.counted_attempts) == (Status.PENDING, 0)
    assert double.queue()[0] == [str(generation.id)]
    double.set()
    run(generation)

    assert generation.status == Status.COMPLETED
    assert double.prompts() == []


def test_cancelled_between_two_attempts__is_interrupted_on_the_server(
    make_generation, run, stop_while_rendering, double
):
    generation = make_generation()
    stop_while_rendering(generation)

    generation.cancel()
    run(generation)

    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.calls("POST", "/interrupt")) == 1


def test_last_attempt_of_a_dead_worker__is_interrupted_on_the_server(
    make_generation, run, stop_while_rendering, double, settings
):
    settings.RENDER_MAX_ATTEMPTS = 1
    generation = make_generation()
    stop_while_rendering(generation)
    generation.start()  # by a worker that died

    run(generation)

    assert generation.status == Status.FAILED
    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.calls("POST", "/interrupt")) == 1


def test_superseded_attempt__leaves_the_prompt_to_the_later_one(make_generation, run_until, double):
    double.set(is_held=True)
    generation = make_generation()

    run_until(generation, lambda: Generation.objects.get(pk=generation.pk).start())

    assert (generation.status, generation.attempts) == (Status.PROCESSING, 2)
    assert double.queue()[0] == [str(generation.id)]
    assert double.calls("POST", "/interrupt") == []


def test_dead_worker__costs_no_second_render(make_generation, run, stop_while_rendering, double):
    generation = make_generation()
    stop_while_rendering(generation)
    generation.start()  # by a worker that died
    double.set()

    run(generation)

    assert (generation.status, generation.attempts) == (Status.COMPLETED, 3)
    assert double.prompts() == []


def test_prompt_that_the_server_lost__is_rendered_again(make_generation, run, stop_while_rendering, double):
    generation = make_generation()
    stop_while_rendering(generation)
    double.lose_prompts()
    double.set()

    run(generation)

    assert generation.status == Status.COMPLETED
    assert len(double.prompts()) == 1
