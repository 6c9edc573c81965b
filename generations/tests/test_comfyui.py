"""The renderer against a double of ComfyUI: how a prompt becomes a picture."""

import time
from math import inf
from uuid import uuid4

import pytest

from generations.renderers import RenderError
from generations.renderers.base import Waiting
from generations.renderers.comfyui import prompt
from generations.renderers.comfyui.client import Client
from generations.renderers.comfyui.stages import Stages
from generations.renderers.pool import RendererPool
from generations.renderers.pooled_renderer import PooledRenderer
from generations.tests.support.comfyui.renders import Stop, make_renderer


def fleet_of(double) -> RendererPool:
    """The fleet knows what the models are, and which of them is the default."""
    return RendererPool([PooledRenderer(double.url, make_renderer(double))])


def test_render__brings_the_picture(render, make_request):
    picture = render(make_request(width=128, height=64, seed=0xFF8000))

    assert (picture.format, picture.size) == ("PNG", (128, 64))
    assert picture.getpixel((0, 0)) == (255, 128, 0)


def test_render__submits_under_the_generation_s_id(double, render, make_request):
    request = make_request(attempt=2)

    render(request)

    (submitted,) = double.prompts()
    assert submitted["prompt_id"] == submitted["client_id"] == str(request.id)
    assert submitted["prompt"]["2"]["inputs"]["filename_prefix"] == f"lockngen/{request.id}_2"


@pytest.mark.parametrize("model", ["sdxl", "flux", "blank", "default"])
def test_render__runs_the_workflow_of_the_model(double, make_request, model):
    fleet_of(double).render(make_request(model=model), lambda percent: None)

    (submitted,) = double.prompts()
    classes = {node["class_type"] for node in submitted["prompt"].values()}
    assert ("FluxGuidance" in classes, "EmptyImage" in classes) == (model == "flux", model in ("blank", "default"))


def test_render__fails_for_a_model_that_was_removed(double, make_request):
    with pytest.raises(RenderError, match="no such model"):
        fleet_of(double).render(make_request(model="gone"), lambda percent: None)


def test_render__reports_the_server_s_progress(double, render, make_request):
    double.set(seconds=0.5)
    reported = []

    render(make_request(), reported.append)

    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)
    assert {19, 39, 59, 79} <= set(reported)
    steps = {percent: (percent.step, percent.steps) for percent in reported if percent in (19, 79)}
    assert steps == {19: (1, 5), 79: (4, 5)}


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_render__takes_other_kinds_of_images(double, render, make_request, kind):
    double.set(image=kind)

    assert render(make_request()).format == kind.upper()


def test_render__waits_for_a_history_that_is_written_after_the_success(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "LOOK", 600)  # the events tell when it is time
    double.set(seconds=0.3, history_delay=0.3)
    deadline = time.monotonic() + 20

    def progress(percent: int) -> None:
        if time.monotonic() > deadline:
            raise Stop

    assert render(make_request(), progress).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__misses_nothing_that_moves_while_it_looks(double, render, make_request, monkeypatch):
    queue, looks = Client._queue, []

    def read_queue(client):
        looks.append(True)
        if len(looks) > 2:  # before it was submitted, and when it was seen running
            double.wait_for(lambda double: not any(double.queue()))
        return queue(client)

    monkeypatch.setattr(Client, "_queue", read_queue)
    double.set(seconds=1, sockets="refused")

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__asks_hardly_more_often_than_events_show(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "LOOK", 600)
    double.set(seconds=0.5)
    request = make_request()

    render(request)

    assert len(double.calls("GET", f"/history/{request.id}")) <= 6
    assert len(double.calls("GET", "/queue")) <= 3


@pytest.mark.parametrize("sockets", ["dropped", "refused"])
def test_render__does_without_events(double, render, make_request, sockets):
    double.set(sockets=sockets, seconds=0.5)

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__connects_again_to_receive_events(double, render, make_request, monkeypatch):
    monkeypatch.setattr("generations.renderers.comfyui.events.RECONNECT_AFTER", 0.1)
    double.set(sockets="dropped", seconds=1)
    request, reported = make_request(), []

    render(request, reported.append)

    assert len(double.calls("GET", f"/ws?clientId={request.id}")) > 2
    assert len(set(reported)) > 3


def test_render__follows_what_the_server_gave_another_id(double, render, make_request):
    double.set(is_old=True)
    request = make_request()

    render(request)

    assert str(request.id) not in double.history()


@pytest.mark.parametrize("faults", [{"seconds": 0.2}, {"is_old": True}])
def test_render__is_not_done_twice_when_an_answer_was_lost(double, render, make_request, faults):
    double.set(loses_answers=True, **faults)

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1


@pytest.mark.parametrize(
    ("data", "percent"),
    [
        ({"value": 1, "max": 4}, 24),
        ({"value": 9, "max": 4}, 99),
        ({"value": 1, "max": 0}, 0),
        ({"value": 1, "max": inf}, 0),
        ({}, 0),
    ],
)
def test_percent__is_below_100_until_the_picture_is_here(data, percent):
    stages = Stages({})

    stages.process("progress", data)

    assert stages.percent == percent


def test_percent__grows_over_two_samplers():
    sampler = {"class_type": "KSampler", "inputs": {"latent_image": ["9", 0]}}
    stages = Stages({"1": sampler, "2": sampler, "9": {"class_type": "EmptyLatentImage", "inputs": {}}})

    percents = []
    for node in ("9", "1", "2"):
        stages.process("executing", {"node": node})
        for value in (1, 10, 20):
            stages.process("progress", {"node": node, "value": value, "max": 20})
            percents.append(int(stages.percent))

    assert percents == [0, 0, 0, 2, 24, 49, 51, 74, 99]
    assert (stages.percent.step, stages.percent.steps) == (20, 20)


def test_percent__grows_over_nodes_that_are_not_known():
    """The one that stores the image is no part of it."""
    stages = Stages(
        {
            "1": {"class_type": "Own", "inputs": {"rounds": 5, "raw": [[1], 2]}},
            "2": {"class_type": "Own2", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        }
    )

    percents = []
    for node in ("1", "2"):
        for value in (1, 5):
            stages.process("progress", {"node": node, "value": value, "max": 5})
            percents.append(int(stages.percent))

    assert percents == [9, 49, 59, 99]


def test_percent__of_a_server_that_names_the_node_only_when_it_begins():
    sampler = {"class_type": "KSampler", "inputs": {"latent_image": ["9", 0]}}
    stages = Stages({"1": sampler, "2": sampler})

    stages.process("executing", {"node": "1"})
    stages.process("progress", {"value": 1, "max": 2})

    assert stages.percent == 24


def test_percent__counts_a_cached_sampler_as_done():
    sampler = {"class_type": "KSampler", "inputs": {"latent_image": ["9", 0]}}
    stages = Stages({"1": sampler, "2": sampler})

    stages.process("execution_cached", {"nodes": ["1", 7, None]})

    assert stages.percent == 49


def test_render__takes_no_progress_of_others_for_its_own(double, render, make_request):
    """The other prompt has no client_id, and so its events are sent to every client."""
    double.set(seconds=1)
    double.submit(str(uuid4()))
    while_waiting = []

    def progress(percent: int) -> None:
        if double.queue()[1]:
            while_waiting.append(percent)

    render(make_request(), progress)

    assert while_waiting
    assert all(isinstance(percent, Waiting) and percent == 0 for percent in while_waiting)


def test_render__does_without_events_of_a_silent_websocket(double, render, make_request):
    double.set(sockets="silent")
    started = time.monotonic()

    assert render(make_request()).size == (64, 64)
    assert time.monotonic() - started < 2
