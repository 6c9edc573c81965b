"""Graphs that ComfyUI refuses, as errors for clients."""

import json
from dataclasses import replace

import pytest

from generations.renderers.base import RenderError
from generations.renderers.comfyui import refusal
from generations.renderers.comfyui.refusal import Refusal
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import Workflow, parse
from generations.tests.support.comfyui.graphs import make_file

TOO_LARGE = f"Value {2**40} bigger than max of {0xFFFFFF}"


def text(answer: dict) -> str:
    return refusal.text(refusal.read(answer, {}))


def make_two_branches(**preview) -> Workflow:
    """One branch stores an image whose color is the seed, the other previews one."""
    image = {"width": 64, "height": 64, "batch_size": 1, "color": 0}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": image | {"color": "{{seed}}"}, "_meta": {"title": "Film grain"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        "3": {"class_type": "EmptyImage", "inputs": image | preview},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    return parse("own", json.dumps(graph))


def test_refused_graph__is_reported_by_its_nodes_and_inputs(double, render, make_request):
    own = parse("own", make_file({"width": "{{width}}", "height": "{{height}}", "batch_size": 1, "color": "{{seed}}"}))

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own", seed=2**40), own=own)

    assert str(caught.value) == f"The renderer refused the workflow: EmptyImage: {TOO_LARGE} (color)."
    assert double.history() == {}


def test_refused_output__fails_and_cancels_its_prompt(double, render, make_request):
    """The preview's branch is valid, so the server accepts the prompt and executes that branch."""
    double.set(is_held=True)

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own", seed=2**40), own=make_two_branches())

    assert str(caught.value) == f"The renderer refused the workflow: Film grain: {TOO_LARGE} (color)."
    double.wait_for(lambda double: double.queue() == ([], []))
    assert len(double.prompts()) == 1


def test_refused_preview__does_not_fail_the_render(render, make_request):
    own = make_two_branches(color=2**40)

    assert render(make_request(model="own", seed=7), own=own).size == (64, 64)


def test_refused_graph__names_no_files_of_the_server(double, render, make_request, caplog):
    own = replace(read().workflows["sdxl"], checkpoint="secret.safetensors")

    with pytest.raises(RenderError) as caught:
        render(make_request(model="own"), own=own)

    expected = "The renderer refused the workflow: CheckpointLoaderSimple: Value not in list (ckpt_name)."
    assert str(caught.value) == expected
    assert "flux1-dev-fp8.safetensors" in caplog.text


def test_refused_graph__names_the_missing_node(render, make_request):
    file = make_file({"width": 64, "height": 64, "batch_size": 1, "color": 0}).replace("EmptyImage", "MyOwnNode")

    with pytest.raises(RenderError, match=r"Node 'MyOwnNode' not found\. The custom node may not be installed\.$"):
        render(make_request(model="own"), own=parse("own", file))


def test_read__returns_the_same_for_both_responses():
    error = {"type": "value_not_in_list", "message": "Value not in list", "extra_info": {"input_name": "ckpt_name"}}
    node = {"errors": [error], "class_type": "CheckpointLoaderSimple", "dependent_outputs": ["9"]}
    expected = Refusal("Value not in list", "CheckpointLoaderSimple", "ckpt_name", frozenset({"9"}))

    assert refusal.read({"node_errors": {"4": node}}, {}) == [expected]
    assert refusal.read({"prompt_id": "1", "node_errors": {"4": node}, "error": {"message": "x"}}, {}) == [expected]
    assert refusal.read({"error": {"type": "missing_node_type"}}, {}) == [Refusal("it gave no reason")]
    assert refusal.read({"prompt_id": "1", "node_errors": {}}, {}) == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Value not in list", "Value not in list"),
        ("see /opt/ComfyUI/models and C:\\models", "see … and …"),
        ("ask http://gpu7.internal:8188/x or gpu7:8188 or 10.0.0.7", "ask … or … or …"),
        ("two\n lines", "two lines"),
        (7, "7"),
        ("", "it gave no reason"),
    ],
)
def test_text__contains_no_paths_and_hosts(message, shown):
    assert text({"error": {"message": message}}) == f"The renderer refused the workflow: {shown}."


@pytest.mark.parametrize(
    "answer", [{}, {"node_errors": []}, {"node_errors": {"1": 2, "3": {"errors": [4]}}, "error": "x"}]
)
def test_text__of_an_unknown_response_is_that_of_a_refusal(answer):
    assert text(answer).startswith("The renderer refused the workflow: ")


def test_text__is_short():
    errors = [{"message": "Value not in list", "extra_info": {"input_name": "x" * 500}}] * 100

    assert len(text({"node_errors": {"1": {"errors": errors}}})) < 600
