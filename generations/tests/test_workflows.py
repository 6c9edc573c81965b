import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generations.renderers.base import RenderRequest
from generations.renderers.workflows import read, workflow
from generations.renderers.workflows.workflow import PLACEHOLDERS, parse
from generations.tests.support.comfyui import nodes
from generations.tests.support.comfyui.graphs import SAVE, make_file, make_saver


def filled(request, inputs: dict, **settings) -> dict:
    return parse("own", make_file(inputs, **settings)).fill(request, "prefix")["1"]["inputs"]


@pytest.mark.parametrize("name", ["blank", "flux", "sdxl"])
def test_shipped_workflow__is_valid_for_comfyui(make_request, name):
    found = read()

    graph = found.workflows[name].fill(make_request(), "prefix")

    assert found.errors == []
    assert nodes.validate(graph) == (None, {})
    assert workflow.SETTINGS not in graph


@pytest.mark.parametrize("name", ["flux", "sdxl"])
def test_shipped_workflow__uses_the_parameters(make_request, name):
    request = make_request(prompt="PROMPT", seed=7, steps=8, width=640, height=72, guidance=1.25)

    text = json.dumps(read().workflows[name].fill(request, "prefix"))

    for part in ('"PROMPT"', '"seed": 7', '"steps": 8', '"width": 640', '"height": 72', "1.25", '"prefix"'):
        assert part in text


def test_fill__gives_each_placeholder_its_type(make_request):
    request = make_request(seed=2**53 - 1, negative_prompt="fog", guidance=3.5)

    found = filled(
        request, {name: f"{{{{{name}}}}}" for name in PLACEHOLDERS}, lockngen={"checkpoint": "a.safetensors"}
    )

    assert found == {
        "prompt": "a lighthouse",
        "negative_prompt": "fog",
        "seed": 2**53 - 1,
        "steps": 30,
        "guidance": 3.5,
        "width": 64,
        "height": 64,
        "checkpoint": "a.safetensors",
        "color": 0xFFFFFF,
    }


def test_fill__replaces_placeholders_within_a_text(make_request):
    request = make_request(prompt='a "b" {c}', seed=255)

    assert filled(request, {"text": "masterpiece, {{ prompt }}, {{seed}}"})["text"] == 'masterpiece, a "b" {c}, 255'


@given(st.text() | st.sampled_from(["{{seed}}", '"}, "9": {', "{{prompt}}", "\\", "{a|b}", "%date%"]))
def test_fill__does_not_interpret_the_prompt(prompt):
    request = RenderRequest(UUID(int=7), prompt, prompt, "own", 64, 64, 30, 7.0, 1)

    found = filled(request, {"text": "{{prompt}}", "longer": "<{{negative_prompt}}>"})

    assert found == {"text": prompt, "longer": f"<{prompt}>"}


def test_fill__changes_neither_the_workflow_nor_other_inputs(make_request):
    inputs = {"list": ["2", 0], "number": 1.5, "truth": True, "nothing": None, "nested": {"a": "{{width}}"}}
    parsed = parse("own", make_file(inputs))

    first = parsed.fill(make_request(width=64), "first")["1"]["inputs"]
    second = parsed.fill(make_request(width=128), "second")["1"]["inputs"]

    assert first == {**inputs, "nested": {"a": 64}}
    assert second == {**inputs, "nested": {"a": 128}}


def test_fill__names_the_files_of_every_output(make_request):
    parsed = parse("own", make_file(**{"3": SAVE}, lockngen={"output": "2"}))

    graph = parsed.fill(make_request(), "lockngen/id_1")

    assert {graph[id]["inputs"]["filename_prefix"] for id in "23"} == {"lockngen/id_1"}


def test_seed__without_a_requested_one_is_the_same_for_each_attempt(make_request):
    request = make_request(seed=None)

    seeds = {filled(request, {"seed": "{{seed}}"})["seed"] for _ in range(2)}

    assert len(seeds) == 1
    assert filled(make_request(seed=None), {"seed": "{{seed}}"})["seed"] not in seeds


def test_read__prefers_the_files_of_the_operator(tmp_path):
    (tmp_path / "sdxl.json").write_text(make_file(lockngen={"description": "mine", "steps": 4}))
    (tmp_path / "portraits-1.5.json").write_text(make_file())

    found = read(tmp_path)

    assert found.errors == []
    assert set(found.workflows) == {"blank", "flux", "sdxl", "portraits-1.5"}
    assert found.workflows["sdxl"].model.description == "mine"
    assert found.workflows["sdxl"].model.defaults == {"steps": 4}


OTHERS = {
    "preview": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    "video": {"class_type": "SaveWEBM", "inputs": {"images": ["1", 0], "filename_prefix": "clip"}},
    "websocket": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
    "sink": {"class_type": "SendToDiscord", "inputs": {"images": ["1", 0]}},
    "text": {"class_type": "ShowText", "inputs": {"text": "x"}},
}


@pytest.mark.parametrize("other", OTHERS)
def test_output__is_the_only_node_that_stores_an_image(other):
    assert parse("own", make_file(**{"0": OTHERS[other]})).output == "2"


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("PreviewImage", {}),
        ("Image Saver", {"filename": "%time_%seed", "path": "%date"}),
        ("Image Save", {"show_previews": "true", "output_path": "x", "filename_prefix": "x"}),
        ("SendToDiscord", {}),
    ],
)
def test_output__may_be_any_node_if_it_is_the_only_one(kind, inputs):
    assert parse("own", make_saver(kind, **inputs)).output == "2"


@pytest.mark.parametrize("named", ["3", "Final"])
def test_output__is_named_by_id_or_title(named):
    titled = {**SAVE, "_meta": {"title": "Final"}}

    parsed = parse("own", make_file(**{"3": titled}, lockngen={"output": named}))

    assert (parsed.output, parsed.output_name) == ("3", "3 (Final)")


def test_node_with_an_output_path__gets_a_name_without_a_folder(make_request):
    parsed = parse("own", make_saver("Image Save", show_previews="true", output_path="x", filename_prefix="x"))

    assert parsed.fill(make_request(), "lockngen/id_1")["2"]["inputs"]["filename_prefix"] == "id_1"


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda content: {"client_id": "a", "prompt": content},
        lambda content: {"input": {"workflow": content}},
        lambda content: {"lockngen": content.pop("lockngen"), "input": {"prompt": content}},
    ],
)
def test_wrapper__is_unwrapped(wrapped):
    text = json.dumps(wrapped(json.loads(make_file(lockngen={"steps": 4}))))

    assert parse("own", text).graph == parse("own", make_file()).graph
    assert parse("own", text).model.defaults == {"steps": 4}


@pytest.mark.parametrize("value", [[1, 2, 3], ["9", 0, 0], ["9", "0"], [9, 0], ["9", True], []])
def test_list_that_is_no_link__is_unchanged(make_request, value):
    assert filled(make_request(), {"value": value}) == {"value": value}


def test_inputs__are_mapped_by_id_or_title(make_request):
    titled = {"class_type": "Noise", "inputs": {"seed": 1, "x": 1}, "_meta": {"title": "The v1.5 noise"}}
    places = {"prompt": "1.text", "seed": ["The v1.5 noise.seed", "1.seed"]}

    parsed = parse("own", make_file({"text": "prompt", "seed": 0}, **{"5": titled}, lockngen={"inputs": places}))

    graph = parsed.fill(make_request(prompt="a {{seed}}", seed=7), "prefix")
    assert graph["1"]["inputs"] == {"text": "a {{seed}}", "seed": 7}
    assert graph["5"]["inputs"] == {"seed": 7, "x": 1}


def test_settings_file__overrides_the_settings_of_the_workflow(tmp_path):
    (tmp_path / "own.json").write_text(make_file({"text": "prompt", "seed": 0}, lockngen={"steps": 4, "width": 64}))
    settings = {"inputs": {"prompt": "1.text", "seed": "1.seed"}, "steps": 5}
    (tmp_path / "own.lockngen.json").write_text(json.dumps(settings))

    found = read(tmp_path)

    assert (found.errors, found.warnings) == ([], [])
    assert found.workflows["own"].model.defaults == {"steps": 5, "width": 64}
    assert set(found.workflows) == {"blank", "flux", "own", "sdxl"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark__is_ignored(tmp_path, encoding):
    (tmp_path / "own.json").write_text(make_file({"text": "größer {{prompt}}"}), encoding=encoding)

    assert read(tmp_path).workflows["own"].graph["1"]["inputs"]["text"] == "größer {{prompt}}"


def test_beginning_with__returns_the_default_first():
    assert next(iter(read().beginning_with("sdxl").workflows)) == "sdxl"
    assert set(read().beginning_with("nothing").workflows) == {"blank", "flux", "sdxl"}
