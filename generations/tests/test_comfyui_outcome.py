"""The outcome of a ComfyUI prompt: an image, a permanent error, or one that another attempt may not have."""

import pytest

from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.comfyui import ComfyUIRenderer, outcome
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import parse
from generations.tests.support.comfyui.graphs import make_file


@pytest.mark.parametrize(
    ("error", "failure", "message"),
    [
        ({"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device"}, True, "memory"),
        ({"exception_type": "RuntimeError", "exception_message": "MPS backend out of memory"}, True, "memory"),
        ({"exception_type": "RuntimeError", "exception_message": "CUDA error: unspecified"}, True, "GPU"),
        ({"exception_type": "a.b/c@d", "node_type": "Ke<y>"}, False, r"node Key: bcd\.$"),
        ({}, False, r"node unnamed: None\.$"),
    ],
)
def test_error__is_permanent_unless_another_attempt_may_succeed(error, failure, message):
    entry = {"status": {"status_str": "error", "messages": [["execution_error", error], "x", ["y"]]}}

    with pytest.raises(RendererFailure if failure else RenderError, match=message):
        outcome.image(entry, "1")


@pytest.mark.parametrize("entry", [{}, {"status": None, "outputs": None}, {"outputs": {"1": {"images": [3]}, "2": 4}}])
def test_entry__of_an_unknown_form_has_no_image(entry):
    with pytest.raises(RenderError, match="produced no image"):
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
    ("output", "message"),
    [
        ({}, r"its node 9 \(Save\) reported no file; use SaveImage\.$"),
        ({"images": [VIDEO, file("x.flac")]}, r"stored flac, webm; it has to be png, jpg, jpeg, webp\.$"),
    ],
)
def test_output_without_an_image__is_a_permanent_error_with_the_reason(output, message):
    with pytest.raises(RenderError, match=message):
        outcome.image({"outputs": {"9": output, "10": {"images": [PNG]}}}, "9", "9 (Save)")


def test_failing_node__is_reported_without_paths_and_hosts(double, render, make_request, caplog):
    double.set(error="node")

    with pytest.raises(RenderError) as caught:
        render(make_request())

    assert str(caught.value) == "The workflow failed at its node EmptyImage: RuntimeError."
    assert "mat1 and mat2" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none", "produced no image"),
        ("large", "larger than 64 MiB"),
        ("wide", r"^The image can't be used: it has 9000 x 9000 pixels; up to 67108864 in all"),
        ("gif", "its format is GIF; only PNG, JPEG and WebP are accepted"),
        ("bmp", "its format is BMP; only PNG, JPEG and WebP are accepted"),
    ],
)
def test_image_that_is_not_accepted__is_a_permanent_error(double, render, make_request, image, message):
    double.set(image=image)

    with pytest.raises(RenderError, match=message):
        render(make_request())


@pytest.mark.parametrize("image", ["garbage", "cut"])
def test_broken_image__is_rendered_again(double, render, make_request, image):
    double.set(image=image)
    request = make_request()

    with pytest.raises(RendererFailure, match="not an image"):
        render(request)
    double.set()

    assert render(make_request(id=request.id, attempt=2)).size == (64, 64)


def test_interruption_by_another_client__may_be_retried(double, render, make_request):
    double.set(is_held=True)

    def interrupt(percent: int) -> None:
        if double.queue()[0]:
            double.http.post("/interrupt")

    with pytest.raises(RendererFailure, match="interrupted"):
        render(make_request(), interrupt)


@pytest.mark.parametrize(
    ("status", "message"), [(503, "not ready"), (401, "refuses"), (404, "invalid response"), (500, "invalid response")]
)
def test_status__may_be_retried(double, make_request, status, message):
    double.set(status=status)
    renderer = ComfyUIRenderer(f"comfyui://127.0.0.1:{double.port}?patience=0.1", read())

    with pytest.raises(RendererFailure, match=message) as caught:
        renderer.render(make_request(), lambda percent: None)

    assert "127.0.0.1" not in str(caught.value)
    assert str(status) in caught.value.reason


def test_several_images__are_one_stored_and_a_warning(render, make_request, caplog):
    own = parse("own", make_file({"width": 64, "height": 64, "batch_size": 3, "color": "{{seed}}"}))

    assert render(make_request(model="own", seed=7), own=own).size == (64, 64)
    assert "it produced 2 more images, which are not stored." in caplog.text
