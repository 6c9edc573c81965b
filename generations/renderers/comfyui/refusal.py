"""Why ComfyUI refuses a graph, or outputs of it: one form for the answers 400 and 200, and its words for clients."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from generations.renderers.workflows.graph import node_title
from lockngen.plain import plain

MAX_LENGTH = 500  # characters
PATH = re.compile(r"\S*[/\\@]\S*|\S+:\d+\S*|\S*\d+\.\d+\.\d+\.\d+\S*")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error. Without a node it is about the whole graph."""

    kind: str
    """ComfyUI's word for it, such as value_not_in_list or missing_node_type."""
    reason: str
    node: str = ""
    """The node's title, or else its class."""
    input: str = ""
    outputs: frozenset[str] = frozenset()
    """The ids of the output nodes that fail with it; empty where all do."""

    def __str__(self) -> str:
        place = f"{self.node}: " if self.node else ""
        return f"{place}{self.reason}{f' ({self.input})' if self.input else ''}"


def read(answer: dict[str, Any], graph: dict[str, Any]) -> list[Refusal]:
    """The errors of an answer to POST /prompt: those of its nodes, or else the general one, if there is any."""
    nodes = [
        _refusal(error, name_of(graph, id, node.get("class_type")), _list(node.get("dependent_outputs")))
        for id, node in _dict(answer.get("node_errors")).items()
        if isinstance(node, dict)
        for error in map(_dict, _list(node.get("errors")))
    ]
    return nodes or ([_refusal(_dict(answer["error"]))] if answer.get("error") else [])


def of_output(refusals: Iterable[Refusal], output: str) -> list[Refusal]:
    """Those that keep this output node from being executed."""
    return [refusal for refusal in refusals if not refusal.outputs or output in refusal.outputs]


def text(refusals: Iterable[Refusal]) -> str:
    reasons = "; ".join(map(str, refusals)) or "it gave no reason"
    return f"The renderer refused the workflow: {reasons[:MAX_LENGTH]}."


def name_of(graph: dict[str, Any], id: Any, class_type: Any) -> str:
    """A node as its author named it."""
    return name(node_title(graph.get(id)) or class_type)


def name(value: Any) -> str:
    """A name of the workflow's own, such as KSampler, without what no such name contains."""
    return re.sub(r"[^\w .()-]", "", plain(value))[:60] if isinstance(value, str) and value else "unnamed"


def _refusal(error: dict[str, Any], node: str = "", outputs: list[Any] = ()) -> Refusal:
    message = plain(error.get("message") or "it gave no reason", MAX_LENGTH)
    input = _dict(error.get("extra_info")).get("input_name")
    return Refusal(
        kind=name(error.get("type")),
        reason=PATH.sub("…", message).rstrip("."),
        node=node,
        input=name(input) if input else "",
        outputs=frozenset(map(str, outputs)),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
