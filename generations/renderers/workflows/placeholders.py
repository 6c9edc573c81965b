"""Finds and replaces the placeholders of a graph, and finds those of other tools."""

import json
import re
from collections.abc import Iterator
from typing import Any

from generations.renderers.workflows.graph import Graph, WorkflowError, find_node, place, upstream

PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
PLACEHOLDERS = {"prompt", "negative_prompt", "seed", "steps", "guidance", "width", "height", "checkpoint", "color"}
SEEDED = {"seed", "color"}  # placeholders whose value depends on the seed
# Placeholders of other tools, and what ComfyUI's editor leaves of {{prompt}}.
FOREIGN_NAMES = "|".join(sorted([*PLACEHOLDERS - {"checkpoint"}, "positive_prompt", "negative", "cfg", "model"]))
FOREIGN = re.compile(rf"%(?:{FOREIGN_NAMES})%|(?<!\{{)\{{\s*(?:{FOREIGN_NAMES})\s*\}}(?!\}})", re.IGNORECASE)
FILE_INPUTS = re.compile(r"file|path|prefix|folder", re.IGNORECASE)  # in a file's name, %seed% is the saver's own


def texts(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """The id of each node, the name of each input and its value as JSON."""
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            yield id, name, json.dumps(value, ensure_ascii=False)


def used(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """The id of the node, the name of the input and the name of each placeholder."""
    for id, name, text in texts(graph):
        for found in PLACEHOLDER.finditer(text):
            yield id, name, found[1]


def check(graph: Graph, checkpoint: str) -> None:
    for id, name, placeholder in used(graph):
        if placeholder not in PLACEHOLDERS:
            known = ", ".join(sorted(PLACEHOLDERS))
            raise WorkflowError(
                f"{place(graph, id, name)}: the placeholder {{{{{placeholder}}}}} is unknown; use {known}"
            )
        if placeholder == "checkpoint" and not checkpoint:
            raise WorkflowError(
                f"{place(graph, id, name)}: {{{{checkpoint}}}} requires lockngen.checkpoint, which is missing"
            )


def insert(graph: Graph, places: dict[str, Any]) -> None:
    """Write placeholders into the inputs that lockngen.inputs names, such as `{"prompt": "6.text"}`."""
    for placeholder, given in places.items():
        setting = f"lockngen.inputs.{placeholder}"
        if placeholder not in PLACEHOLDERS:
            raise WorkflowError(f"{setting}: the placeholder is unknown; use {', '.join(sorted(PLACEHOLDERS))}")
        for where in given if isinstance(given, list) else [given]:
            if not isinstance(where, str) or "." not in where:
                raise WorkflowError(f'{setting}: it must be NODE.INPUT, such as "6.text", or a list of these')
            node, _, input = where.rpartition(".")
            id = find_node(graph, node, setting)
            inputs = graph[id]["inputs"]
            if input not in inputs:
                names = ", ".join(inputs)
                raise WorkflowError(f"{setting}: {place(graph, id)} has no input {input!r}; it has {names}")
            inputs[input] = f"{{{{{placeholder}}}}}"


def warnings(graph: Graph, output: str) -> list[str]:
    """Probable mistakes: an image that doesn't depend on prompt or seed, placeholders of another tool."""
    needed = upstream(graph, output)
    reaching = {placeholder for id, _, placeholder in used(graph) if id in needed}
    missing = [] if "prompt" in reaching else ["prompt"]
    missing += [] if SEEDED & reaching else ["seed"]
    remedy = "ComfyUI's editor removes braces when it exports; write it again or map it in lockngen.inputs"
    return [f"no {{{{{name}}}}} reaches {place(graph, output)}: {remedy}" for name in missing] + [
        f"{place(graph, id, name)}: {found[0]} is not a placeholder of LockN Gen and is not replaced; use {{{{…}}}}"
        for id, name, text in texts(graph)
        if not FILE_INPUTS.search(name)
        for found in FOREIGN.finditer(text)
    ]


def fill(value: Any, values: dict[str, Any]) -> Any:
    """Replace the placeholders in a value. A text that is one placeholder becomes the value itself, such as a number.

    Inserted text is not searched again, so a prompt may contain anything.
    """
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if not isinstance(value, str):
        return value
    if whole := PLACEHOLDER.fullmatch(value):
        return values[whole[1]]
    return PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)
