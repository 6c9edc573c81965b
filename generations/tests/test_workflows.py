import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generations.renderers import RenderRequest
from generations.renderers.workflows import WorkflowError, catalogue, read, workflow
from generations.renderers.workflows.workflow import PLACEHOLDERS, parse
from generations.tests.comfyui import nodes

SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}}


def make_file(inputs: dict | None = None, **nodes_or_settings) -> str:
    image = {"class_type": "EmptyImage", "inputs": inputs or {}}
    return json.dumps({"1": image, "2": SAVE, **nodes_or_settings})


def filled(request, inputs: dict, **settings) -> dict:
    return parse("own", make_file(inputs, **settings)).fill(request, "prefix")["1"]["inputs"]


@pytest.mark.parametrize("name", ["blank", "flux", "sdxl"])
def test_shipped_workflow__is_one_that_comfyui_takes(make_request, name):
    found = read()

    graph = found.workflows[name].fill(make_request(), "prefix")

    assert found.errors == []
    assert nodes.validate(graph) == (None, {})
    assert workflow.SETTINGS not in graph


@pytest.mark.parametrize("name", ["flux", "sdxl"])
def test_shipped_workflow__uses_what_was_asked_for(make_request, name):
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


def test_fill__puts_values_into_a_longer_text(make_request):
    request = make_request(prompt='a "b" {c}', seed=255)

    assert filled(request, {"text": "masterpiece, {{ prompt }}, {{seed}}"})["text"] == 'masterpiece, a "b" {c}, 255'


@given(st.text() | st.sampled_from(["{{seed}}", '"}, "9": {', "{{prompt}}", "\\", "{a|b}", "%date%"]))
def test_fill__lets_a_prompt_be_a_prompt(prompt):
    request = RenderRequest(UUID(int=7), prompt, prompt, "own", 64, 64, 30, 7.0, 1)

    found = filled(request, {"text": "{{prompt}}", "longer": "<{{negative_prompt}}>"})

    assert found == {"text": prompt, "longer": f"<{prompt}>"}


def test_fill__leaves_the_workflow_and_the_rest_as_they_are(make_request):
    inputs = {"list": ["2", 0], "number": 1.5, "truth": True, "nothing": None, "nested": {"a": "{{width}}"}}
    parsed = parse("own", make_file(inputs))

    first = parsed.fill(make_request(width=64), "first")["1"]["inputs"]
    second = parsed.fill(make_request(width=128), "second")["1"]["inputs"]

    assert first == {**inputs, "nested": {"a": 64}}
    assert second == {**inputs, "nested": {"a": 128}}


def test_fill__names_the_files_of_every_output(make_request):
    parsed = parse("own", make_file(**{"3": SAVE}))

    graph = parsed.fill(make_request(), "lockngen/id_1")

    assert {graph[id]["inputs"]["filename_prefix"] for id in "23"} == {"lockngen/id_1"}


def test_seed__is_the_same_for_each_attempt_where_none_was_asked_for(make_request):
    request = make_request(seed=None)

    seeds = {filled(request, {"seed": "{{seed}}"})["seed"] for _ in range(2)}

    assert len(seeds) == 1
    assert filled(make_request(seed=None), {"seed": "{{seed}}"})["seed"] not in seeds


BROKEN = {
    "no JSON": ("{", "no JSON"),
    "no number": (make_file({"a": 1}).replace("1}", "NaN}"), "NaN"),
    "nested": ("[" * 100_000, "no JSON"),
    "a list": ("[]", "object of nodes"),
    "nothing": ("{}", "no nodes"),
    "the editor's": ('{"nodes": [], "links": []}', r"Export \(API\)"),
    "node is text": (make_file(**{"3": "x"}), "node 3: .*class_type"),
    "no inputs": (make_file(**{"3": {"class_type": "VAEDecode"}}), "node 3: .*inputs"),
    "list": (make_file({"samples": [1, 2, 3]}), "node 1, input samples: a list is a link"),
    "link to nowhere": (make_file({"samples": ["7", 0]}), "node 1, input samples: .*node 7"),
    "no output": (json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}}), "stores an image"),
    "placeholder": (make_file({"text": "a {{promt}} b"}), "node 1, input text: .*{{promt}}.*negative_prompt"),
    "umlaut": (make_file({"text": "{{größe}}"}), "{{größe}}"),
    "no checkpoint": (make_file({"name": "{{checkpoint}}"}), "node 1, input name: .*lockngen.checkpoint"),
    "settings": (make_file(lockngen=[]), "lockngen: .*object"),
    "unknown setting": (make_file(lockngen={"stpes": 3}), "lockngen.stpes: .*steps"),
    "steps as text": (make_file(lockngen={"steps": "3"}), "lockngen.steps: .*whole number"),
    "steps as truth": (make_file(lockngen={"steps": True}), "lockngen.steps: .*whole number"),
    "guidance as text": (make_file(lockngen={"guidance": "3"}), "lockngen.guidance: .*number"),
    "description": (make_file(lockngen={"description": 3}), "lockngen.description: .*text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_workflow__is_told_with_its_place(case):
    text, said = BROKEN[case]

    with pytest.raises(WorkflowError, match=said):
        parse("own", text)


def test_read__takes_the_operator_s_own_in_place_of_ours(tmp_path):
    (tmp_path / "sdxl.json").write_text(make_file(lockngen={"description": "mine", "steps": 4}))
    (tmp_path / "portraits-1.5.json").write_text(make_file())

    found = read(tmp_path)

    assert found.errors == []
    assert set(found.workflows) == {"blank", "flux", "sdxl", "portraits-1.5"}
    assert found.workflows["sdxl"].model.description == "mine"
    assert found.workflows["sdxl"].model.defaults == {"steps": 4}


def test_read__tells_what_is_broken_and_goes_on(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "large.json").write_bytes(b" " * (catalogue.LONGEST_FILE + 1))
    (tmp_path / "two words.json").write_text(make_file())
    (tmp_path / "default.json").write_text(make_file())
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "good.json").write_text(make_file())

    found = read(tmp_path, tmp_path / "nowhere")

    assert set(found.workflows) == {"blank", "flux", "sdxl", "good"}
    broken = ["binary.json", "broken.json", "default.json", "folder.json", "large.json", "two words.json", "nowhere"]
    assert [str(error).split(": ")[0] for error in found.errors] == [str(tmp_path / name) for name in broken]


def test_beginning_with__puts_the_default_first():
    assert next(iter(read().beginning_with("sdxl").workflows)) == "sdxl"
    assert set(read().beginning_with("nothing").workflows) == {"blank", "flux", "sdxl"}
