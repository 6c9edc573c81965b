"""A workflow: a graph in ComfyUI's API format, with placeholders for the parameters of a generation."""

import json
from dataclasses import dataclass
from typing import Any

from generations.renderers.base import MAX_SEED, Model, RenderRequest
from generations.renderers.untrusted import as_dict
from generations.renderers.workflows import placeholders, savers
from generations.renderers.workflows.graph import WorkflowError, check_nodes, node_name
from generations.renderers.workflows.placeholders import PLACEHOLDERS

SETTINGS = "lockngen"  # the key of the settings, beside the nodes; it is not sent to ComfyUI
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
        """The output's id with its title or class, for messages."""
        return f"{self.output} ({node_name(self.graph[self.output])})"

    def fill(self, request: RenderRequest, filename_prefix: str) -> dict[str, Any]:
        """The graph of one generation, which stores images under names that begin with the prefix."""
        seed = request.definite_seed
        own = {"seed": seed, "color": seed % COLORS, "checkpoint": self.checkpoint}
        values = {name: own[name] if name in own else getattr(request, name) for name in PLACEHOLDERS}
        graph = {id: {**node, "inputs": placeholders.fill(node["inputs"], values)} for id, node in self.graph.items()}
        for node in graph.values():
            # ComfyUI caches outputs by their inputs, so a prefix that was used before would create no new file.
            if "filename_prefix" in node["inputs"]:
                has_own_folder = "output_path" in node["inputs"]  # such a saver doesn't create the prefix's folder
                name = filename_prefix.rpartition("/")[2]
                node["inputs"]["filename_prefix"] = name if has_own_folder else filename_prefix
        return graph


def parse(name: str, text: str, settings_text: str | None = None) -> Workflow:
    """Parse the text of a workflow file. Raises WorkflowError.

    The settings in a file of their own take precedence over those beside the nodes.
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
    warnings = (*placeholders.warnings(graph, output), *savers.warnings(graph))
    return Workflow(model, graph, checkpoint, output, warnings)


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"it is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise WorkflowError("it is not a JSON object of nodes")
    return content


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _unwrapped(content: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The nodes and the settings, also from a request's body: `{"prompt": {…}}` or `{"input": {"workflow": {…}}}`."""
    settings = content.pop(SETTINGS, {})
    for path in WRAPPERS:
        inner = content
        for key in path:
            inner = as_dict(as_dict(inner).get(key))
        if inner and "class_type" not in inner:
            content, settings = inner, inner.pop(SETTINGS, settings)
            break
    if isinstance(content.get("nodes"), list):
        raise WorkflowError("it is in the editor's own format; use Export (API) in ComfyUI's menu")
    return content, settings


def _settings(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise WorkflowError(f"{SETTINGS}: it is not a JSON object")
    for name, value in settings.items():
        if name not in TYPES:
            raise WorkflowError(f"{SETTINGS}.{name}: the setting is unknown; valid settings: {', '.join(TYPES)}")
        if isinstance(value, bool) or not isinstance(value, TYPES[name]):
            raise WorkflowError(f"{SETTINGS}.{name}: it must be {KINDS.get(TYPES[name], 'a number')}")
    if not 0 <= settings.get("largest_seed", 0) <= MAX_SEED:
        raise WorkflowError(f"{SETTINGS}.largest_seed: it must be from 0 to {MAX_SEED}")
    return settings
