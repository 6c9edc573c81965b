import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generations.renderers import RenderRequest
from generations.renderers.workflows import WorkflowError, catalogue, read, workflow
from generations.renderers.workflows.workflow import PLACEHOLDERS, parse
from generations.tests.support.comfyui import nodes
from generations.tests.support.comfyui.graphs import SAVE, make_file


def make_saver(kind: str, **inputs) -> str:
    return make_file(**{"2": {"class_type": kind, "inputs": {"images": ["1", 0], **inputs}}})


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


BROKEN = {
    "no JSON": ("{", "not valid JSON"),
    "no number": (make_file({"a": 1}).replace("1}", "NaN}"), "NaN"),
    "nested": ("[" * 100_000, "not valid JSON"),
    "a list": ("[]", "object of nodes"),
    "nothing": ("{}", "no nodes"),
    "the editor's": ('{"nodes": [], "links": []}', r"Export \(API\)"),
    "node is text": (make_file(**{"3": "x"}), "node 3: .*class_type"),
    "no inputs": (make_file(**{"3": {"class_type": "VAEDecode"}}), r"node 3 \(VAEDecode\): .*inputs"),
    "subgraph": (
        make_file({"samples": ["12:5", 0]}),
        r"node 1 \(EmptyImage\), input samples: .*12:5 of a subgraph.*unpack",
    ),
    "titled": (
        make_file(**{"73": {"inputs": {}, "_meta": {"title": "Sharpen"}}}),
        r"node 73 \(Sharpen\): .*install it",
    ),
    "two savers": (
        make_file(**{"3": SAVE}),
        r"several nodes store .*2 \(SaveImage\), 3 \(SaveImage\); set lockngen.output",
    ),
    "no such output": (make_file(lockngen={"output": "Final"}), "lockngen.output: no node .*'Final'"),
    "no such input": (
        make_file({"a": 1}, lockngen={"inputs": {"seed": "1.b"}}),
        "lockngen.inputs.seed: node 1 .*has .*it has a",
    ),
    "no such placeholder": (make_file(lockngen={"inputs": {"promt": "1.b"}}), "lockngen.inputs.promt: .*use "),
    "input without node": (make_file(lockngen={"inputs": {"seed": "b"}}), "lockngen.inputs.seed: .*NODE.INPUT"),
    "websocket": (make_saver("SaveImageWebsocket"), "node 2 .*stores no file; replace it with SaveImage"),
    "silent": (make_saver("Image Save", show_previews="false"), 'reports no file; set its show_previews to "true"'),
    "video": (make_saver("SaveWEBM", filename_prefix="x"), "stores a video; add a SaveImage"),
    "largest seed": (make_file(lockngen={"largest_seed": 2**60}), "lockngen.largest_seed: it must be from 0 to"),
    "link to nowhere": (make_file({"samples": ["7", 0]}), r"node 1 \(EmptyImage\), input samples: .*node 7"),
    "no output": (json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}}), "stores an image"),
    "placeholder": (
        make_file({"text": "a {{promt}} b"}),
        r"node 1 \(EmptyImage\), input text: .*{{promt}}.*negative_prompt",
    ),
    "umlaut": (make_file({"text": "{{größe}}"}), "{{größe}}"),
    "no checkpoint": (
        make_file({"name": "{{checkpoint}}"}),
        r"node 1 \(EmptyImage\), input name: .*lockngen.checkpoint",
    ),
    "settings": (make_file(lockngen=[]), "lockngen: .*object"),
    "unknown setting": (make_file(lockngen={"stpes": 3}), "lockngen.stpes: .*steps"),
    "steps as text": (make_file(lockngen={"steps": "3"}), "lockngen.steps: .*whole number"),
    "steps as truth": (make_file(lockngen={"steps": True}), "lockngen.steps: .*whole number"),
    "guidance as text": (make_file(lockngen={"guidance": "3"}), "lockngen.guidance: .*number"),
    "description": (make_file(lockngen={"description": 3}), "lockngen.description: .*text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_workflow__is_reported_with_its_place(case):
    text, message = BROKEN[case]

    with pytest.raises(WorkflowError, match=message):
        parse("own", text)


def test_read__prefers_the_files_of_the_operator(tmp_path):
    (tmp_path / "sdxl.json").write_text(make_file(lockngen={"description": "mine", "steps": 4}))
    (tmp_path / "portraits-1.5.json").write_text(make_file())

    found = read(tmp_path)

    assert found.errors == []
    assert set(found.workflows) == {"blank", "flux", "sdxl", "portraits-1.5"}
    assert found.workflows["sdxl"].model.description == "mine"
    assert found.workflows["sdxl"].model.defaults == {"steps": 4}


def test_read__reports_broken_files_and_reads_the_others(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "large.json").write_bytes(b" " * (catalogue.MAX_FILE_BYTES + 1))
    (tmp_path / "two words.json").write_text(make_file())
    (tmp_path / "default.json").write_text(make_file())
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "good.json").write_text(make_file())

    found = read(tmp_path, tmp_path / "nowhere")

    assert set(found.workflows) == {"blank", "flux", "sdxl", "good"}
    broken = ["binary.json", "broken.json", "default.json", "folder.json", "large.json", "two words.json"]
    assert [str(error).split(": ")[0] for error in found.errors] == [str(tmp_path / name) for name in broken]


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


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": "{{prompt}}", "seed": "{{seed}}", "filename": "%seed%", "style": "{red|blue}"}, []),
        ({"text": "{{prompt}}", "color": "{{color}}"}, []),
        ({"text": "{{prompt}}"}, ["{{seed}}"]),
        ({"seed": "{{seed}}", "text": "a portrait, prompt"}, ["{{prompt}}"]),
        ({"text": "{prompt}", "seed": "%seed%"}, ["{{prompt}}", "{{seed}}", "{prompt}", "%seed%"]),
        ({"text": "{{prompt}}", "seed": "{{seed}}", "a": ["{ width }"]}, ["{ width }"]),
    ],
)
def test_warnings__name_unused_placeholders(inputs, message):
    warnings = parse("own", make_file(inputs)).warnings

    assert len(warnings) == len(message)
    assert all(each in warning for each, warning in zip(message, warnings, strict=True))


def test_warnings__leave_out_nodes_that_the_output_does_not_need():
    aside = {"class_type": "Note", "inputs": {"text": "{{prompt}} {{seed}}"}}

    assert len(parse("own", make_file(**{"7": aside})).warnings) == 2


def test_broken_file_of_the_operator__is_not_replaced_by_a_shipped_one(tmp_path):
    (tmp_path / "sdxl.json").write_text("{")

    assert set(read(tmp_path).workflows) == {"blank", "flux"}


def test_beginning_with__returns_the_default_first():
    assert next(iter(read().beginning_with("sdxl").workflows)) == "sdxl"
    assert set(read().beginning_with("nothing").workflows) == {"blank", "flux", "sdxl"}
