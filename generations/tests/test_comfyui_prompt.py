"""A prompt on a ComfyUI server, from its submission to its image."""

import time

import pytest

from generations.renderers.base import RenderError
from generations.renderers.comfyui import prompt
from generations.renderers.comfyui.client import Client
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.tests.support.comfyui.renders import Stop, make_renderer


def make_pool(double) -> RendererPool:
    return RendererPool([PooledRenderer(double.url, make_renderer(double))])


def test_render__returns_the_image(render, make_request):
    image = render(make_request(width=128, height=64, seed=0xFF8000))

    assert (image.format, image.size) == ("PNG", (128, 64))
    assert image.getpixel((0, 0)) == (255, 128, 0)


def test_render__submits_under_the_id_of_the_generation(double, render, make_request):
    request = make_request(attempt=2)

    render(request)

    (submitted,) = double.prompts()
    assert submitted["prompt_id"] == submitted["client_id"] == str(request.id)
    assert submitted["prompt"]["2"]["inputs"]["filename_prefix"] == f"lockngen/{request.id}_2"


@pytest.mark.parametrize("model", ["sdxl", "flux", "blank", "default"])
def test_render__executes_the_workflow_of_the_model(double, make_request, model):
    make_pool(double).render(make_request(model=model), lambda percent: None)

    (submitted,) = double.prompts()
    classes = {node["class_type"] for node in submitted["prompt"].values()}
    assert ("FluxGuidance" in classes, "EmptyImage" in classes) == (model == "flux", model in ("blank", "default"))


def test_render__of_a_removed_model_fails(double, make_request):
    with pytest.raises(RenderError, match="no such model"):
        make_pool(double).render(make_request(model="gone"), lambda percent: None)


def test_render__reports_the_progress_of_the_server(double, render, make_request):
    double.set(seconds=0.25)
    reported = []

    render(make_request(), reported.append)

    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)
    assert {19, 39, 59, 79} <= set(reported)
    steps = {percent: (percent.step, percent.steps) for percent in reported if percent in (19, 79)}
    assert steps == {19: (1, 5), 79: (4, 5)}


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_render__accepts_jpeg_and_webp(double, render, make_request, kind):
    double.set(image=kind)

    assert render(make_request()).format == kind.upper()


def test_render__waits_for_a_history_that_is_written_after_the_success(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "POLL", 600)  # only an event can end the wait
    double.set(history_delay=0.3)
    deadline = time.monotonic() + 20

    def progress(percent: int) -> None:
        if time.monotonic() > deadline:
            raise Stop

    assert render(make_request(), progress).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__finds_a_prompt_that_ends_between_two_requests(double, render, make_request, monkeypatch):
    read_queue, reads = Client._queue, []

    def end_prompt_and_read_queue(client):
        reads.append(True)
        if len(reads) == 3:  # after one before the submission, and one of the running prompt
            double.set(sockets="refused")
            double.wait_for(lambda double: not any(double.queue()))
        return read_queue(client)

    monkeypatch.setattr(Client, "_queue", end_prompt_and_read_queue)
    monkeypatch.setattr(prompt, "POLL_WITHOUT_EVENTS", 0.05)
    double.set(is_held=True, sockets="refused")
    request = make_request()

    assert render(request).size == (64, 64)
    assert len(reads) == 3
    assert [*double.history()] == [str(request.id)]


def test_render__polls_hardly_more_often_than_events_arrive(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "POLL", 600)
    double.set(seconds=0.2)
    request = make_request()

    render(request)

    assert len(double.calls("GET", f"/history/{request.id}")) <= 6
    assert len(double.calls("GET", "/queue")) <= 3


def test_render__follows_a_prompt_with_an_id_of_the_server(double, render, make_request):
    double.set(is_old=True)
    request = make_request()

    render(request)

    assert str(request.id) not in double.history()


@pytest.mark.parametrize("faults", [{"seconds": 0.2}, {"is_old": True}])
def test_render__is_not_submitted_twice_when_a_response_is_lost(double, render, make_request, faults):
    double.set(loses_answers=True, **faults)

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1
