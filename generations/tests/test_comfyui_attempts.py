"""Attempts that find the prompt of an earlier one, or a server that has lost it."""

from uuid import uuid4

import pytest

from generations.renderers.base import RendererFailure, RenderError, Waiting
from generations.renderers.comfyui import prompt
from generations.tests.support.comfyui.renders import Stop, leave_running


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__reuses_a_running_prompt(double, render, make_request, is_old):
    double.set(is_held=True, is_old=is_old)
    request = make_request()
    leave_running(double, render, request)

    def release(percent: int) -> None:
        if not isinstance(percent, Waiting):
            double.set(is_old=is_old)

    assert render(make_request(id=request.id, attempt=2), release).size == (64, 64)
    assert double.prompts() == []
    assert len(double.history()) == 1


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__reuses_a_finished_prompt(double, render, make_request, is_old):
    double.set(is_held=True, is_old=is_old)
    request = make_request()
    leave_running(double, render, request)
    double.set(is_old=is_old)
    double.wait_for(lambda double: double.history())

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)
    assert double.prompts() == []


def test_next_attempt__reuses_a_waiting_prompt(double, render, make_request):
    double.set(is_held=True)
    double.submit(str(uuid4()))
    request = make_request()

    def stop(percent: int) -> None:
        if double.queue()[1]:
            raise Stop

    with pytest.raises(Stop):
        render(request, stop)
    double.set()
    render(make_request(id=request.id, attempt=2))

    assert double.prompts() == []
    assert len(double.history()) == 2


def test_next_attempt__ignores_the_failure_of_an_earlier_one(double, render, make_request):
    double.set(error="oom")
    request = make_request()
    with pytest.raises(RendererFailure):
        render(request)
    double.set()

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)


def test_next_attempt__renders_again_if_the_file_is_gone(double, render, make_request):
    request = make_request()
    render(request)
    for file in double.folder.rglob(f"{request.id}*"):
        file.unlink()

    with pytest.raises(RendererFailure, match="lost the image"):
        render(make_request(id=request.id, attempt=2))
    # The same graph would come from the cache, without a file: this attempt's contains another name.
    assert render(make_request(id=request.id, attempt=3)).size == (64, 64)


def test_next_attempt__repeats_a_permanent_failure_without_a_render(double, render, make_request):
    double.set(error="node")
    request = make_request()
    for attempt in (1, 2):
        with pytest.raises(RenderError, match="EmptyImage"):
            render(make_request(id=request.id, attempt=attempt))

    assert len(double.prompts()) == 1


def test_running_prompt__that_the_server_loses_fails_the_attempt(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "POLL", 0.1)
    double.set(is_held=True)
    lost = []

    def lose(percent: int) -> None:
        if percent and not lost:
            lost.append(True)
            double.lose_prompts()

    with pytest.raises(RendererFailure, match="lost the prompt"):
        render(make_request(), lose)


def test_waiting_prompt__that_the_server_loses_is_submitted_again(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "POLL", 0.1)
    double.set(is_held=True)
    double.submit(str(uuid4()))
    lost = []

    def lose(percent: int) -> None:
        if not lost and double.queue()[1]:
            lost.append(True)
            double.lose_prompts()
            double.set()

    assert render(make_request(), lose).size == (64, 64)
    assert lost
