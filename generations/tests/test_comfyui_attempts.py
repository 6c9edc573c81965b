"""What an attempt makes of what an earlier one left on the server, and of a server that forgets."""

from uuid import uuid4

import pytest

from generations.renderers import RendererFailure, RenderError
from generations.tests.support.comfyui.renders import Stop, leave_running


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__adopts_what_is_still_running(double, render, make_request, is_old):
    double.set(seconds=0.5, is_old=is_old)
    request = make_request()
    leave_running(double, render, request)

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)
    assert len(double.prompts()) == 1


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__adopts_what_is_done_meanwhile(double, render, make_request, is_old):
    double.set(seconds=0.5, is_old=is_old)
    request = make_request()
    leave_running(double, render, request)
    double.wait_for(lambda double: double.history())

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)
    assert len(double.prompts()) == 1


def test_next_attempt__adopts_what_is_waiting(double, render, make_request):
    double.set(seconds=0.5)
    double.submit(str(uuid4()))
    request = make_request()

    def stop(percent: int) -> None:
        if double.queue()[1]:
            raise Stop

    with pytest.raises(Stop):
        render(request, stop)
    render(make_request(id=request.id, attempt=2))

    assert len(double.prompts()) == 2


def test_next_attempt__does_not_take_an_earlier_failure_for_its_own(double, render, make_request):
    double.set(error="oom")
    request = make_request()
    with pytest.raises(RendererFailure):
        render(request)
    double.set(seconds=0.3)

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)


def test_next_attempt__renders_anew_where_the_file_is_gone(double, render, make_request):
    request = make_request()
    render(request)
    for file in double.folder.rglob(f"{request.id}*"):
        file.unlink()

    with pytest.raises(RendererFailure, match="lost the picture"):
        render(make_request(id=request.id, attempt=2))
    # The same graph would be answered from the cache, without a file: this attempt's has another name in it.
    assert render(make_request(id=request.id, attempt=3)).size == (64, 64)


def test_next_attempt__fails_at_once_where_an_earlier_one_did_for_good(double, render, make_request):
    double.set(error="node")
    request = make_request()
    for attempt in (1, 2):
        with pytest.raises(RenderError, match="EmptyImage"):
            render(make_request(id=request.id, attempt=attempt))

    assert len(double.prompts()) == 1


def test_server_that_forgot_what_was_running__has_cost_a_try(double, render, make_request):
    double.set(seconds=1)
    killed = []

    def kill(percent: int) -> None:
        if percent and not killed:
            killed.append(True)
            double.kill()
            double.start()

    with pytest.raises(RendererFailure, match="forgot"):
        render(make_request(), kill)


def test_server_that_forgot_what_was_waiting__is_handed_it_again(double, render, make_request):
    double.set(seconds=20)
    double.submit(str(uuid4()))
    killed = []

    def kill(percent: int) -> None:
        if not killed and double.queue()[1]:
            killed.append(True)
            double.kill()
            double.faults = {}
            double.start()

    assert render(make_request(), kill).size == (64, 64)
