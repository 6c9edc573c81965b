"""What is wrong with a workflow, and where."""

import json

import pytest

from generations.renderers.workflows import WorkflowError, catalogue, read
from generations.renderers.workflows.workflow import parse
from generations.tests.support.comfyui.graphs import SAVE, make_file, make_saver

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
