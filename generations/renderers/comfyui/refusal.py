"""Why ComfyUI refuses a graph or some of its outputs, in one form for responses with status 400 and 200."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from generations.renderers.untrusted import as_dict, as_list, public
from generations.renderers.workflows.graph import node_title
from lockngen.plain import plain

MAX_LENGTH = 500  # characters


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error. Without a node it concerns the whole graph."""

    reason: str
    node: str = ""
    """The node's title, or its class if it has none."""
    input: str = ""
    outputs: frozenset[str] = frozenset()
    """The ids of the output nodes that fail with it; empty if all fail."""

    def __str__(self) -> str:
        place = f"{self.node}: " if self.node else ""
        return f"{place}{self.reason}{f' ({self.input})' if self.input else ''}"


def read(answer: dict[str, Any], graph: dict[str, Any]) -> list[Refusal]:
    """The errors of an answer to POST /prompt: those of its nodes, or else the general one, if any."""
    nodes = [
        _refusal(error, clean_name(node_title(graph.get(id)) or node.get("class_type")), node.get("dependent_outputs"))
        for id, node in as_dict(answer.get("node_errors")).items()
        if isinstance(node, dict)
        for error in map(as_dict, as_list(node.get("errors")))
    ]
    return nodes or ([_refusal(as_dict(answer["error"]))] if answer.get("error") else [])


def text(refusals: Iterable[Refusal]) -> str:
    reasons = "; ".join(map(str, refusals)) or "it gave no reason"
    return f"The renderer refused the workflow: {reasons[:MAX_LENGTH]}."


def clean_name(value: Any) -> str:
    """A name from the workflow, such as KSampler, reduced to the characters that names contain."""
    return re.sub(r"[^\w .()-]", "", plain(value))[:60] if isinstance(value, str) and value else "unnamed"


def _refusal(error: dict[str, Any], node: str = "", outputs: Any = None) -> Refusal:
    input = as_dict(error.get("extra_info")).get("input_name")
    return Refusal(
        reason=public(error.get("message") or "it gave no reason", MAX_LENGTH),
        node=node,
        input=clean_name(input) if input else "",
        outputs=frozenset(map(str, as_list(outputs))),
    )
