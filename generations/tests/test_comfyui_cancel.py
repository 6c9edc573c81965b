"""Prompts that are ended on the server, and those that are left alone."""

import time
from uuid import uuid4

import pytest

from generations.tests.support.comfyui.renders import Stop, leave_running, make_renderer


def test_cancel__interrupts_what_runs(double, render, make_request):
    double.set(seconds=3)
    request = make_request()
    leave_running(double, render, request)

    make_renderer(double).cancel(request.id)

    double.wait_for(lambda double: double.queue() == ([], []))
    assert [call["body"] for call in double.calls("POST", "/interrupt")] == [{"prompt_id": str(request.id)}]


@pytest.mark.parametrize("is_old", [False, True])
def test_cancel__leaves_the_prompts_of_others(double, make_request, is_old):
    double.set(seconds=20, is_old=is_old)
    running, waiting, request = str(uuid4()), str(uuid4()), make_request()
    double.submit(running)
    double.submit(waiting)
    double.wait_for(lambda double: double.queue()[0])
    others = double.queue()
    with pytest.raises(Stop):
        make_renderer(double).render(request, lambda percent: stop_when_submitted(double, 2))

    make_renderer(double).cancel(request.id)
    time.sleep(0.1)

    assert double.queue() == others
    assert double.calls("POST", "/interrupt") == []


def stop_when_submitted(double, waiting: int) -> None:
    if len(double.queue()[1]) == waiting:
        raise Stop


def test_cancel__of_what_is_unknown_does_nothing(double):
    double.set(seconds=20)
    double.submit(str(uuid4()))
    double.wait_for(lambda double: double.queue()[0])

    make_renderer(double).cancel(uuid4())

    assert double.calls("POST", "/interrupt") == double.calls("POST", "/queue") == []


def test_cancel__raises_nothing_where_the_server_is_away(double, caplog):
    double.kill()

    make_renderer(double).cancel(uuid4())

    assert "may still be rendered" in caplog.text
