"""A workflow: a graph as ComfyUI exports it for its API, with placeholders for the parameters of a generation."""

import json
from dataclasses import dataclass
from typing import Any

from generations.renderers.base import MAX_SEED, Model, RenderRequest
from generations.renderers.workflows import placeholders, savers
from generations.renderers.workflows.graph import WorkflowError, check_nodes, node_name
from generations.renderers.workflows.placeholders import PLACEHOLDERS

SETTINGS = "lockngen"  # the key beside the nodes that holds a description and defaults; ComfyUI never sees it
DEFAULTS = ("width", "height", "steps", "guidance")
TYPES = {
    "description": str,
    "checkpoint": str,
    "output": str,
    "inputs": dict,
    "largest_seed": int,
    "width": int,
    "height": int,
    "steps": int,
    "guidance": (int, float),
}
KINDS = {str: "a text", int: "a whole number", dict: "a JSON object"}
WRAPPERS = (("prompt",), ("input", "workflow"), ("input", "prompt"), ("workflow",))
COLORS = 2**24


@dataclass(frozen=True, slots=True)
class Workflow:
    model: Model
    graph: dict[str, Any]
    checkpoint: str
    output: str
    """The id of the node whose image is delivered."""
    warnings: tuple[str, ...] = ()
    """Probable mistakes."""

    @property
    def output_name(self) -> str:
        """The output's id, and its title or class, for messages."""
        return f"{self.output} ({node_name(self.graph[self.output])})"

    def fill(self, request: RenderRequest, filename_prefix: str) -> dict[str, Any]:
        """The graph of one generation, whose images are stored under names that begin with the prefix."""
        values = self._values(request)
        graph = {id: {**node, "inputs": placeholders.fill(node["inputs"], values)} for id, node in self.graph.items()}
        for node in graph.values():
            # Outputs are cached by what goes into them: a name that was used before would bring no new file.
            if "filename_prefix" in node["inputs"]:
                # A saver with a folder of its own doesn't make the one in the prefix.
                has_folder = "output_path" in node["inputs"]
                node["inputs"]["filename_prefix"] = (
                    filename_prefix.rpartition("/")[2] if has_folder else filename_prefix
                )
        return graph

    def _values(self, request: RenderRequest) -> dict[str, Any]:
        seed = request.definite_seed
        own = {"seed": seed, "color": seed % COLORS, "checkpoint": self.checkpoint}
        return {name: own[name] if name in own else getattr(request, name) for name in PLACEHOLDERS}


def parse(name: str, text: str, settings_text: str | None = None) -> Workflow:
    """The workflow of a file. Raises WorkflowError with what is wrong and where.

    Settings in a file of their own are added to those beside the nodes.
    """
    graph, settings = _unwrapped(_json(text))
    settings = {**_settings(settings), **(_settings(_json(settings_text)) if settings_text else {})}
    checkpoint = settings.get("checkpoint", "")
    check_nodes(graph)
    placeholders.insert(graph, settings.get("inputs", {}))
    placeholders.check(graph, checkpoint)
    output = savers.find_output(graph, settings.get("output"))
    defaults = {key: settings[key] for key in DEFAULTS if key in settings}
    model = Model(name, settings.get("description", ""), defaults, settings.get("largest_seed", MAX_SEED))
    return Workflow(model, graph, checkpoint, output, tuple(placeholders.warnings(graph, output)))


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise WorkflowError("it is no JSON object of nodes")
    return content


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _unwrapped(content: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The nodes and the settings, also of a request's body: `{"prompt": {…}}` or `{"input": {"workflow": {…}}}`."""
    settings = content.pop(SETTINGS, {})
    for path in WRAPPERS:
        inner = content
        for key in path:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and inner and "class_type" not in inner:
            content, settings = inner, inner.pop(SETTINGS, settings)
            break
    if isinstance(content.get("nodes"), list):
        raise WorkflowError("it is a workflow as the editor saves it; use Export (API) of ComfyUI's menu")
    return content, settings


def _settings(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise WorkflowError(f"{SETTINGS}: it is no JSON object")
    for name, value in settings.items():
        if name not in TYPES:
            raise WorkflowError(f"{SETTINGS}.{name}: it is not known; there are {', '.join(TYPES)}")
        if isinstance(value, bool) or not isinstance(value, TYPES[name]):
            raise WorkflowError(f"{SETTINGS}.{name}: it takes {KINDS.get(TYPES[name], 'a number')}")
    if not 0 <= settings.get("largest_seed", 0) <= MAX_SEED:
        raise WorkflowError(f"{SETTINGS}.largest_seed: it takes 0 to {MAX_SEED}")
    return settings
