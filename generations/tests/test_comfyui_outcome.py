"""What goes wrong on a ComfyUI server, in words for clients: for good, or worth another try."""

import json
from dataclasses import replace

import pytest

from generations.renderers import RendererFailure, RenderError
from generations.renderers.comfyui import ComfyUIRenderer, outcome, refusal
from generations.renderers.comfyui.refusal import Refusal
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import Workflow, parse
from generations.tests.test_workflows import make_file


def refused(answer: dict) -> str:
    return refusal.text(refusal.read(answer, {}))


def test_refused_graph__is_reported_by_its_nodes_and_inputs(double, render, make_request):
    own = parse("own", make_file({"width": "{{width}}", "height": "{{height}}", "batch_size": 1, "color": "{{seed}}"}))

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own", seed=2**40), own=own)

    value = f"Value {2**40} bigger than max of {0xFFFFFF}"
    assert str(caught.value) == f"The renderer refused the workflow: EmptyImage: {value} (color)."
    assert double.history() == {}


def make_two_branches(**preview) -> Workflow:
    """One branch stores an image of the color that is the seed, the other previews one."""
    image = {"width": 64, "height": 64, "batch_size": 1, "color": 0}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": image | {"color": "{{seed}}"}, "_meta": {"title": "Film grain"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        "3": {"class_type": "EmptyImage", "inputs": image | preview},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    return parse("own", json.dumps(graph))


def test_refused_output__fails_and_its_prompt_is_cancelled(double, render, make_request):
    """The preview's branch is valid, so the server accepts the prompt and renders that."""
    double.set(seconds=5)

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own", seed=2**40), own=make_two_branches())

    value = f"Value {2**40} bigger than max of {0xFFFFFF}"
    assert str(caught.value) == f"The renderer refused the workflow: Film grain: {value} (color)."
    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.prompts()) == 1


def test_refused_preview__leaves_the_picture(double, render, make_request):
    own = make_two_branches(color=2**40)

    assert render(make_request(model="own", seed=7), own=own).size == (64, 64)


def test_refusal__is_one_value_for_both_answers():
    error = {"type": "value_not_in_list", "message": "Value not in list", "extra_info": {"input_name": "ckpt_name"}}
    node = {"errors": [error], "class_type": "CheckpointLoaderSimple", "dependent_outputs": ["9"]}
    expected = Refusal(
        "value_not_in_list", "Value not in list", "CheckpointLoaderSimple", "ckpt_name", frozenset({"9"})
    )

    assert refusal.read({"node_errors": {"4": node}}, {}) == [expected]
    assert refusal.read({"prompt_id": "1", "node_errors": {"4": node}, "error": {"message": "x"}}, {}) == [expected]
    assert refusal.read({"error": {"type": "missing_node_type"}}, {})[0].kind == "missing_node_type"
    assert refusal.read({"prompt_id": "1", "node_errors": {}}, {}) == []


def test_refused_graph__shows_no_files_of_the_server(double, render, make_request, caplog):
    sdxl = read().workflows["sdxl"]
    own = replace(sdxl, checkpoint="secret.safetensors")

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own"), own=own)

    assert (
        str(caught.value) == "The renderer refused the workflow: CheckpointLoaderSimple: Value not in list (ckpt_name)."
    )
    assert "flux1-dev-fp8.safetensors" in caplog.text


def test_refused_graph__shows_which_node_there_is_not(render, make_request):
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
def test_failure__is_reported_by_what_it_means_for_another_attempt(error, failure, said):
    entry = {"status": {"status_str": "error", "messages": [["execution_error", error], "x", ["y"]]}}

    with pytest.raises(RendererFailure if failure else RenderError, match=said):
        outcome.image(entry, "1")


@pytest.mark.parametrize("entry", [{}, {"status": None, "outputs": None}, {"outputs": {"1": {"images": [3]}, "2": 4}}])
def test_entry__of_a_strange_form_is_no_image(entry):
    with pytest.raises(RenderError, match="made no image"):
        outcome.image(entry, "1")


def file(name: str, type: str = "output", subfolder: str = "") -> dict:
    return {"filename": name, "subfolder": subfolder, "type": type}


PNG, PREVIEW, VIDEO = file("a.png"), file("b.png", "temp"), file("c.webm")
ODD = file("lockn_夜_00001_ #%&+.PNG", subfolder="2026-11\\evening")


@pytest.mark.parametrize(
    ("outputs", "image"),
    [
        ({"9": {"images": [PREVIEW, PNG]}}, PNG),
        ({"9": {"images": [PREVIEW]}}, PREVIEW),
        ({"9": {"images": [VIDEO, PNG], "animated": [True]}}, PNG),
        ({"20": {"images": [file("z.png")]}, "9": {"images": [PNG]}}, PNG),
        ({"9": {"files": [file("d.WebP")]}}, file("d.WebP")),
        ({"1": {"a_images": [PREVIEW]}, "2": {"text": ["x"]}, "3": {"images": None}, "9": {"images": ["x", ODD]}}, ODD),
    ],
)
def test_image__is_that_of_the_output_node(outputs, image):
    assert outcome.image({"outputs": outputs}, "9") == image


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({}, r"its node 9 \(Save\) reported no file; use SaveImage\.$"),
        ({"images": [VIDEO, file("x.flac")]}, r"stored flac, webm; it has to be png, jpg, jpeg, webp\.$"),
    ],
)
def test_no_picture_of_the_output_node__fails_for_good_and_states_why(output, said):
    with pytest.raises(RenderError, match=said):
        outcome.image({"outputs": {"9": output, "10": {"images": [PNG]}}}, "9", "9 (Save)")


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
    assert refused({"error": {"message": message}}) == f"The renderer refused the workflow: {said}."


@pytest.mark.parametrize(
    "answer", [{}, {"node_errors": []}, {"node_errors": {"1": 2, "3": {"errors": [4]}}, "error": "x"}]
)
def test_refusal__of_a_strange_form_is_one_all_the_same(answer):
    assert refused(answer).startswith("The renderer refused the workflow: ")


def test_refusal__is_short():
    errors = [{"message": "Value not in list", "extra_info": {"input_name": "x" * 500}}] * 100

    assert len(refused({"node_errors": {"1": {"errors": errors}}})) < 600


def test_failing_node__is_reported_without_paths_and_hosts(double, render, make_request, caplog):
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


def test_image_beyond_the_limits__is_an_error_for_good(double, render, make_request):
    double.set(image="wide")

    with pytest.raises(RenderError, match=r"^The picture can't be used: it has 9000 x 9000 pixels; accepted are"):
        render(make_request())


@pytest.mark.parametrize("kind", ["gif", "bmp"])
def test_image_of_another_format__is_an_error_for_good(double, render, make_request, kind):
    double.set(image=kind)

    with pytest.raises(RenderError, match=f"its format is {kind.upper()}; accepted are PNG, JPEG and WebP"):
        render(make_request())


@pytest.mark.parametrize("image", ["garbage", "cut"])
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
    assert str(status) in caught.value.reason


def test_several_images__are_one_stored_and_a_warning(double, render, make_request, caplog):
    own = parse("own", make_file({"width": 64, "height": 64, "batch_size": 3, "color": "{{seed}}"}))

    assert render(make_request(model="own", seed=7), own=own).size == (64, 64)
    assert "its run made 2 more images, which are not stored." in caplog.text
