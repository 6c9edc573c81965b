"""The renderer against a double of ComfyUI: every trap of its protocol."""

import os
import shutil
import signal
import subprocess
import threading
import time
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from generations.renderers import RendererFailure, RenderError
from generations.renderers.comfyui import ComfyUIRenderer, address, outcome, prompt
from generations.renderers.comfyui.client import Client
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import Workflow, parse
from generations.tests.comfyui.process import Double
from generations.tests.test_workflows import make_file
from lockngen.tests.conftest import free_port


class Stop(Exception):
    """What progress raises where a render has to end."""


def make_renderer(double, authorization: str = "", **workflows: Workflow) -> ComfyUIRenderer:
    found = read().beginning_with("blank")
    found.workflows.update(workflows)
    return ComfyUIRenderer(double.url, found, authorization)


@pytest.fixture
def render(double):
    """Render a request and return the picture; `progress` is what the renderer calls."""

    def render(request, progress=lambda percent: None, **options) -> Image.Image:
        return Image.open(BytesIO(make_renderer(double, **options).render(request, progress)))

    return render


def leave_running(double, render, request) -> None:
    """What a worker leaves that stops or dies while its prompt runs."""

    def stop(percent: int) -> None:
        if double.queue()[0]:
            raise Stop

    with pytest.raises(Stop):
        render(request, stop)


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
def test_render__runs_the_workflow_of_the_model(double, render, make_request, model):
    render(make_request(model=model))

    (submitted,) = double.prompts()
    classes = {node["class_type"] for node in submitted["prompt"].values()}
    assert ("FluxGuidance" in classes, "EmptyImage" in classes) == (model == "flux", model in ("blank", "default"))


def test_render__fails_for_a_model_that_was_removed(render, make_request):
    with pytest.raises(RenderError, match="no such model"):
        render(make_request(model="gone"))


def test_render__reports_the_server_s_progress(double, render, make_request):
    double.set(seconds=0.5)
    reported = []

    render(make_request(), reported.append)

    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 100)
    assert {19, 39, 59, 79} <= set(reported)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_render__takes_other_kinds_of_images(double, render, make_request, kind):
    double.set(image=kind)

    assert render(make_request()).format == kind.upper()


def test_render__waits_for_a_history_that_is_written_after_the_success(double, render, make_request, monkeypatch):
    monkeypatch.setattr(prompt, "LOOK", 600)  # the events tell when it is time
    double.set(seconds=0.3, history_delay=0.3)
    give_up_at = time.monotonic() + 20

    def progress(percent: int) -> None:
        if time.monotonic() > give_up_at:
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


def test_render__asks_hardly_more_often_than_events_tell(double, render, make_request):
    double.set(seconds=1)
    request = make_request()

    render(request)

    assert len(double.calls("GET", f"/history/{request.id}")) <= 6
    assert len(double.calls("GET", "/queue")) <= 3


@pytest.mark.parametrize("sockets", ["dropped", "refused"])
def test_render__does_without_events(double, render, make_request, sockets):
    double.set(sockets=sockets, seconds=0.5)

    assert render(make_request()).size == (64, 64)
    assert len(double.prompts()) == 1


def test_render__connects_again_to_hear_events(double, render, make_request, monkeypatch):
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


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__adopts_what_is_still_running(double, render, make_request, is_old):
    double.set(seconds=0.5, is_old=is_old)
    request = make_request()
    leave_running(double, render, request)

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)
    assert len(double.prompts()) == 1


@pytest.mark.parametrize("is_old", [False, True])
def test_next_attempt__adopts_what_is_done_meanwhile(double, render, make_request, is_old):
    double.set(seconds=0.2, is_old=is_old)
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


def test_refused_graph__is_told_by_its_nodes_and_inputs(double, render, make_request):
    own = parse("own", make_file({"width": "{{width}}", "height": "{{height}}", "batch_size": 1, "color": "{{seed}}"}))

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own", seed=2**40), own=own)

    value = f"Value {2**40} bigger than max of {0xFFFFFF}"
    assert str(caught.value) == f"The renderer refused the workflow: EmptyImage: {value} (color)."
    assert double.history() == {}


def test_refused_graph__tells_no_files_of_the_server(double, render, make_request, caplog):
    sdxl = read().workflows["sdxl"]
    own = Workflow(sdxl.model, sdxl.graph, "secret.safetensors")

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own"), own=own)

    assert (
        str(caught.value) == "The renderer refused the workflow: CheckpointLoaderSimple: Value not in list (ckpt_name)."
    )
    assert "flux1-dev-fp8.safetensors" in caplog.text


def test_refused_graph__tells_which_node_there_is_not(render, make_request):
    text = make_file({"width": 64, "height": 64, "batch_size": 1, "color": 0}).replace("EmptyImage", "MyOwnNode")

    with pytest.raises(RenderError, match=r"Node 'MyOwnNode' not found\. The custom node may not be installed\.$"):
        render(make_request(model="own"), own=parse("own", text))


@pytest.mark.parametrize(
    ("error", "failure", "said"),
    [
        ({"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device"}, True, "memory"),
        ({"exception_type": "RuntimeError", "exception_message": "MPS backend out of memory"}, True, "memory"),
        ({"exception_type": "RuntimeError", "exception_message": "CUDA error: unspecified"}, True, "GPU"),
        ({"exception_type": "a.b/c@d", "node_type": "Ke<y>"}, False, r"node Key: bcd\.$"),
        ({}, False, r"node unnamed: None\.$"),
    ],
)
def test_failure__is_told_by_what_it_means_for_another_attempt(error, failure, said):
    entry = {"status": {"status_str": "error", "messages": [["execution_error", error], "x", ["y"]]}}

    with pytest.raises(RendererFailure if failure else RenderError, match=said):
        outcome.image(entry)


@pytest.mark.parametrize("entry", [{}, {"status": None, "outputs": None}, {"outputs": {"1": {"images": [3]}, "2": 4}}])
def test_entry__of_a_strange_form_is_no_image(entry):
    with pytest.raises(RenderError, match="made no image"):
        outcome.image(entry)


def test_entry__has_stored_images_before_previews():
    preview, stored = ({"filename": kind, "subfolder": "", "type": kind} for kind in ("temp", "output"))

    assert outcome.image({"outputs": {"1": {"images": [preview]}, "2": {"images": [stored]}}}) == stored
    assert outcome.image({"outputs": {"1": {"images": [preview]}}}) == preview


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Value not in list", "Value not in list"),
        ("see /opt/ComfyUI/models and C:\\models", "see … and …"),
        ("ask http://gpu7.internal:8188/x or gpu7:8188 or 10.0.0.7", "ask … or … or …"),
        ("two\n lines", "two lines"),
        (7, "7"),
        ("", "it gave no reason"),
    ],
)
def test_refusal__passes_on_no_paths_and_hosts(message, said):
    assert outcome.refusal({"error": {"message": message}}) == f"The renderer refused the workflow: {said}."


@pytest.mark.parametrize(
    "answer", [{}, {"node_errors": []}, {"node_errors": {"1": 2, "3": {"errors": [4]}}, "error": "x"}]
)
def test_refusal__of_a_strange_form_is_one_all_the_same(answer):
    assert outcome.refusal(answer).startswith("The renderer refused the workflow: ")


def test_refusal__is_short():
    errors = [{"message": "Value not in list", "extra_info": {"input_name": "x" * 500}}] * 100

    assert len(outcome.refusal({"node_errors": {"1": {"errors": errors}}})) < 600


def test_failing_node__is_told_without_paths_and_hosts(double, render, make_request, caplog):
    double.set(error="node")

    with pytest.raises(RenderError) as caught:
        render(make_request())

    assert str(caught.value) == "The workflow failed at its node EmptyImage: RuntimeError."
    assert "mat1 and mat2" in caplog.text


def test_no_image__is_an_error_for_good(double, render, make_request):
    double.set(image="none")

    with pytest.raises(RenderError, match="made no image"):
        render(make_request())


def test_large_image__is_refused_before_all_of_it_is_here(double, render, make_request):
    double.set(image="large")

    with pytest.raises(RenderError, match="larger than 64 MiB"):
        render(make_request())


@pytest.mark.parametrize("image", ["garbage", "cut", "wide"])
def test_what_is_no_image__is_rendered_again(double, render, make_request, image):
    double.set(image=image)
    request = make_request()

    with pytest.raises(RendererFailure, match="no image"):
        render(request)
    double.set()

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)


def test_out_of_memory__is_worth_another_try(double, render, make_request):
    double.set(error="oom")

    with pytest.raises(RendererFailure, match="out of memory"):
        render(make_request())


def test_interrupted_by_somebody_else__is_worth_another_try(double, render, make_request):
    double.set(seconds=5)

    def interrupt(percent: int) -> None:
        if double.queue()[0]:
            double.http.post("/interrupt")

    with pytest.raises(RendererFailure, match="interrupted"):
        render(make_request(), interrupt)


@pytest.mark.parametrize(
    ("status", "said"), [(503, "not ready"), (401, "refuses"), (404, "understood"), (500, "understood")]
)
def test_strange_answer__is_worth_another_try(double, make_request, status, said):
    double.set(status=status)
    renderer = ComfyUIRenderer(f"comfyui://127.0.0.1:{double.port}?patience=0.3", read())

    with pytest.raises(RendererFailure, match=said) as caught:
        renderer.render(make_request(), lambda percent: None)

    assert "127.0.0.1" not in str(caught.value)
    assert str(status) in str(caught.value.__cause__)


def test_server_that_is_away__is_waited_for(double, render, make_request):
    double.kill()
    threading.Timer(0.5, double.start).start()

    assert render(make_request()).size == (64, 64)


def test_server_that_stays_away__is_given_up_on(double, make_request):
    double.kill()
    renderer = ComfyUIRenderer(f"comfyui://127.0.0.1:{double.port}?patience=0.5", read())
    started_at = time.monotonic()

    with pytest.raises(RendererFailure, match="can't be reached"):
        renderer.render(make_request(), lambda percent: None)

    assert 0.4 < time.monotonic() - started_at < 5


def test_server_that_is_frozen__does_not_hold_a_worker_that_stops(double, make_request, monkeypatch):
    monkeypatch.setattr("generations.renderers.comfyui.client.TIMEOUT", 0.3)
    monkeypatch.setattr("generations.renderers.comfyui.events.OPEN_TIMEOUT", 0.3)
    renderer, calls = make_renderer(double), []

    def stop(percent: int) -> None:
        calls.append(percent)
        if len(calls) > 2:
            raise Stop

    os.kill(double.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Stop):
            renderer.render(make_request(), stop)
    finally:
        os.kill(double.process.pid, signal.SIGCONT)


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


def test_authorization__is_sent_with_every_call_and_never_logged(double, make_request, caplog):
    caplog.set_level("DEBUG")
    renderer = make_renderer(double, "Bearer secret")

    renderer.render(make_request(), lambda percent: None)

    assert {call["headers"].get("Authorization") for call in double.http.get("/double").json()} == {"Bearer secret"}
    assert "secret" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and certificate of localhost, which only those trust who are told to."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *subject]
    subprocess.run(["openssl", "req", "-x509", *options, "-keyout", file, "-out", f"{file}.crt"], check=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def encrypted_double(certificate, tmp_path):
    double = Double(free_port(), tmp_path, certificate)
    yield double
    double.stop()


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate with")
def test_encrypted_server__is_asked_if_its_certificate_is_trusted(encrypted_double, make_request, monkeypatch):
    request, reported = make_request(), []
    with pytest.raises(RendererFailure, match="can't be reached"):
        ComfyUIRenderer(encrypted_double.url.replace("=5", "=0.1"), read()).render(request, reported.append)

    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted_double.certificate))
    encrypted_double.set(seconds=0.5)
    make_renderer(encrypted_double).render(request, reported.append)

    assert 39 in reported  # which came by WebSocket
    assert len(encrypted_double.prompts()) == 1


def test_proxy_of_the_environment__is_not_asked(double, render, make_request, monkeypatch):
    double.set(seconds=0.5)
    reported = []
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    render(make_request(), reported.append)

    assert 39 in reported  # which came by WebSocket


@pytest.mark.parametrize(
    ("url", "http", "websocket", "patience"),
    [
        ("comfyui://gpu", "http://gpu:8188", "ws://gpu:8188", 60),
        (
            "comfyuis://gpu.example.org/comfy/",
            "https://gpu.example.org:443/comfy",
            "wss://gpu.example.org:443/comfy",
            60,
        ),
        ("comfyui://[::1]:8189?patience=2.5", "http://[::1]:8189", "ws://[::1]:8189", 2.5),
    ],
)
def test_address__tells_where_the_server_is(url, http, websocket, patience):
    found = address.parse(url)

    assert (found.http, found.websocket, found.patience) == (http, websocket, patience)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("comfyui:", "comfyui://host:8188"),
        ("comfyui://", "comfyui://host:8188"),
        ("comfyui://gpu:port", "comfyui://host:8188"),
        ("comfyui://gpu:99999", "comfyui://host:8188"),
        ("comfyui://g pu", "comfyui://host:8188"),
        ("comfyui://gpu#x", "comfyui://host:8188"),
        ("comfyui://gpu?patience=long", "patience"),
        ("comfyui://gpu?speed=1", "patience"),
        ("comfyui://gpu?patience=1&patience=2", "patience"),
        ("comfyui://me:secret@gpu", "COMFYUI_AUTHORIZATION"),
    ],
)
def test_bad_address__is_refused_with_what_it_takes(url, said):
    with pytest.raises(ValueError, match=said) as caught:
        address.parse(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "percent"),
    [({"value": 1, "max": 4}, 24), ({"value": 9, "max": 4}, 99), ({"value": 1, "max": 0}, 0), ({}, 0)],
)
def test_percent__is_below_100_until_the_picture_is_here(data, percent):
    assert prompt._percent(data) == percent
