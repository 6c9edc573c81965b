"""Which prompts a cancellation ends on the server."""

from uuid import uuid4

import pytest

from generations.renderers.comfyui import ComfyUIRenderer
from generations.renderers.workflows import read
from generations.tests.support.comfyui.renders import Stop, leave_running, make_renderer
from lockngen.tests.support.processes import free_port


def test_cancel__interrupts_the_running_prompt(double, render, make_request):
    double.set(is_held=True)
    request = make_request()
    leave_running(double, render, request)

    make_renderer(double).cancel(request.id)

    double.wait_for(lambda double: double.queue() == ([], []))
    assert [call["body"] for call in double.calls("POST", "/interrupt")] == [{"prompt_id": str(request.id)}]


@pytest.mark.parametrize("is_old", [False, True])
def test_cancel__removes_the_waiting_prompt_and_no_other(double, make_request, is_old):
    double.set(is_held=True, is_old=is_old)
    running, waiting, request = str(uuid4()), str(uuid4()), make_request()
    double.submit(running)
    double.submit(waiting)
    double.wait_for(lambda double: double.queue()[0])
    others = double.queue()

    def stop_when_submitted(percent: int) -> None:
        if len(double.queue()[1]) == 2:
            raise Stop

    with pytest.raises(Stop):
        make_renderer(double).render(request, stop_when_submitted)

    make_renderer(double).cancel(request.id)

    assert double.queue() == others
    assert double.calls("POST", "/interrupt") == []


def test_cancel__of_an_unknown_prompt_does_nothing(double):
    double.set(is_held=True)
    double.submit(str(uuid4()))
    double.wait_for(lambda double: double.queue()[0])

    make_renderer(double).cancel(uuid4())

    assert double.calls("POST", "/interrupt") == double.calls("POST", "/queue") == []


def test_cancel__raises_nothing_while_the_server_is_unavailable(caplog):
    ComfyUIRenderer(f"comfyui://127.0.0.1:{free_port()}", read()).cancel(uuid4())

    assert "may still be rendered" in caplog.text
