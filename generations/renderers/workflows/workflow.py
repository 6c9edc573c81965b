"""A workflow: a graph as ComfyUI exports it for its API, with placeholders for what a generation asks for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from generations.renderers.base import Model, RenderRequest

SETTINGS = "lockngen"  # the key beside the nodes that holds a description and defaults; ComfyUI never sees it
DEFAULTS = ("width", "height", "steps", "guidance")
TYPES = {"description": str, "checkpoint": str, "width": int, "height": int, "steps": int, "guidance": (int, float)}
PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
PLACEHOLDERS = {"prompt", "negative_prompt", "seed", "steps", "guidance", "width", "height", "checkpoint", "color"}
COLORS = 2**24


class WorkflowError(ValueError):
    """What is wrong with a workflow, and where in it."""


@dataclass(frozen=True, slots=True)
class Workflow:
    model: Model
    graph: dict[str, Any]
    checkpoint: str

    def fill(self, request: RenderRequest, filename_prefix: str) -> dict[str, Any]:
        """The graph of one generation, whose images are stored under names that begin with the prefix."""
        values = self._values(request)
        graph = {id: {**node, "inputs": _filled(node["inputs"], values)} for id, node in self.graph.items()}
        for node in graph.values():
            # Outputs are cached by what goes into them: a name that was used before would bring no new file.
            if "filename_prefix" in node["inputs"]:
                node["inputs"]["filename_prefix"] = filename_prefix
        return graph

    def _values(self, request: RenderRequest) -> dict[str, Any]:
        seed = request.definite_seed
        own = {"seed": seed, "color": seed % COLORS, "checkpoint": self.checkpoint}
        return {name: own[name] if name in own else getattr(request, name) for name in PLACEHOLDERS}


def parse(name: str, text: str) -> Workflow:
    """The workflow of a file. Raises WorkflowError with what is wrong and where."""
    content = _json(text)
    settings = _settings(content.pop(SETTINGS, {}))
    _check_nodes(content)
    for place, used in _placeholders(content):
        if used not in PLACEHOLDERS:
            known = ", ".join(sorted(PLACEHOLDERS))
            raise WorkflowError(f"{place}: there is no placeholder {{{{{used}}}}}; there are {known}")
        if used == "checkpoint" and not settings.get("checkpoint"):
            raise WorkflowError(f"{place}: {{{{checkpoint}}}} stands for {SETTINGS}.checkpoint, which is missing")
    defaults = {key: settings[key] for key in DEFAULTS if key in settings}
    return Workflow(
        Model(name, settings.get("description", ""), defaults), graph=content, checkpoint=settings.get("checkpoint", "")
    )


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise WorkflowError("it is no JSON object of nodes")
    if isinstance(content.get("nodes"), list):
        raise WorkflowError("it is a workflow as the editor saves it; use Export (API) of ComfyUI's menu")
    return content


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _settings(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise WorkflowError(f"{SETTINGS}: it is no JSON object")
    for name, value in settings.items():
        if name not in TYPES:
            raise WorkflowError(f"{SETTINGS}.{name}: it is not known; there are {', '.join(TYPES)}")
        if isinstance(value, bool) or not isinstance(value, TYPES[name]):
            kind = {str: "a text", int: "a whole number"}.get(TYPES[name], "a number")
            raise WorkflowError(f"{SETTINGS}.{name}: it takes {kind}")
    return settings


def _check_nodes(graph: dict[str, Any]) -> None:
    if not graph:
        raise WorkflowError("it has no nodes")
    for id, node in graph.items():
        if not (isinstance(node, dict) and isinstance(node.get("class_type"), str)):
            raise WorkflowError(f"node {id}: it has no class_type")
        if not isinstance(node.get("inputs"), dict):
            raise WorkflowError(f"node {id}: it has no inputs")
        for name, value in node["inputs"].items():
            _check_link(graph, f"node {id}, input {name}", value)
    if not any(_is_output(node) for node in graph.values()):
        raise WorkflowError("no node of it stores an image, as SaveImage does: none has images and a filename_prefix")


def _check_link(graph: dict[str, Any], place: str, value: Any) -> None:
    """A list is a link to another node's output: `["4", 0]`."""
    if not isinstance(value, list):
        return
    if len(value) != 2 or not isinstance(value[0], str) or type(value[1]) is not int:
        raise WorkflowError(f'{place}: a list is a link, such as ["4", 0]')
    if value[0] not in graph:
        raise WorkflowError(f"{place}: it is linked to node {value[0]}, which there is not")


def _is_output(node: dict[str, Any]) -> bool:
    return "filename_prefix" in node["inputs"] and isinstance(node["inputs"].get("images"), list)


def _placeholders(graph: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every placeholder and where it stands."""
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            for found in PLACEHOLDER.finditer(json.dumps(value, ensure_ascii=False)):
                yield f"node {id}, input {name}", found[1]


def _filled(value: Any, values: dict[str, Any]) -> Any:
    """The same with values for placeholders. One that is a whole text becomes the value itself, a number a number.

    What was put in is not looked at again, so a prompt may contain anything.
    """
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if not isinstance(value, str):
        return value
    if whole := PLACEHOLDER.fullmatch(value):
        return values[whole[1]]
    return PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)
