"""Nodes and links of a graph in ComfyUI's API format."""

import re
from typing import Any

from generations.renderers.untrusted import as_dict, as_text

SUBGRAPH_NODE = re.compile(r"[\w-]+(:[\w-]+)+", re.ASCII)  # such as 12:5, node 5 of the subgraph in node 12

Graph = dict[str, Any]


class WorkflowError(ValueError):
    """An error in a workflow, with its place."""


def place(graph: Graph, id: str, input: str = "") -> str:
    """A node with its title or class, and optionally one of its inputs, for messages."""
    name = node_name(graph[id])
    return f"node {id}" + (f" ({name})" if name else "") + (f", input {input}" if input else "")


def node_name(node: Any) -> str:
    return node_title(node) or as_text(as_dict(node).get("class_type"))


def node_title(node: Any) -> str:
    return as_text(as_dict(as_dict(node).get("_meta")).get("title"))


def find_node(graph: Graph, name: str, setting: str) -> str:
    """The id of the node with this id or title. Raises WorkflowError with the setting."""
    if name in graph:
        return name
    found = [id for id, node in graph.items() if node_title(node) == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkflowError(f"{setting}: the nodes {', '.join(found)} have the title {name!r}; use an id")
    raise WorkflowError(f"{setting}: no node has the id or title {name!r}")


def is_link(value: Any) -> bool:
    """Whether ComfyUI treats a value as a link to another node's output, such as `["4", 0]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
        and not isinstance(value[1], bool)
    )


def links(graph: Graph, id: str) -> list[tuple[str, str]]:
    """The linked inputs of a node, with the ids of the nodes that they are linked to."""
    return [(name, value[0]) for name, value in graph[id]["inputs"].items() if is_link(value)]


def upstream(graph: Graph, id: str) -> set[str]:
    found, pending = set(), [id]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += [source for _, source in links(graph, current)]
    return found


def check_nodes(graph: Graph) -> None:
    if not graph:
        raise WorkflowError("it has no nodes")
    for id, node in graph.items():
        if not (isinstance(node, dict) and isinstance(node.get("class_type"), str)):
            raise WorkflowError(
                f"{place(graph, id)}: it has no class_type; if its custom node isn't installed where the workflow was "
                "exported, install it or delete the node, and export again"
            )
        if not isinstance(node.get("inputs"), dict):
            raise WorkflowError(f"{place(graph, id)}: it has no inputs")
    for id in graph:
        for name, source in links(graph, id):
            if source not in graph:
                raise WorkflowError(f"{place(graph, id, name)}: {_missing_source(source)}")


def _missing_source(source: str) -> str:
    if SUBGRAPH_NODE.fullmatch(source):
        return f"it is linked to node {source} of a subgraph, which was not exported; unpack the subgraph, export again"
    return f"it is linked to node {source}, which is missing; connect it again and export again"
