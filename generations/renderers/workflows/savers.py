"""Finds the node of a workflow whose image is delivered, and nodes that make more than one."""

from typing import Any

from generations.renderers.workflows.graph import Graph, WorkflowError, find_node, links, node_name, place

SETTING = "lockngen.output"
IMAGE_INPUTS = {"images", "image"}
VIDEO_SAVERS = {"SaveWEBM", "SaveVideo", "VHS_VideoCombine"}


def find_output(graph: Graph, named: str | None) -> str:
    """The id of the node whose image is delivered. Raises WorkflowError if no node or several nodes qualify.

    Nodes that store images have precedence, then others with linked images whose output is unused, then previews.
    """
    if named is not None:
        id = find_node(graph, named, SETTING)
        if reason := _why_unusable(graph[id]):
            raise WorkflowError(f"{SETTING}: {place(graph, id)} {reason}")
        return id
    receivers = [id for id in graph if any(name in IMAGE_INPUTS for name, _ in links(graph, id))]
    usable = [id for id in receivers if not _why_unusable(graph[id])]
    previews = [id for id in usable if any(word in graph[id]["class_type"].lower() for word in ("preview", "compare"))]
    others = [id for id in usable if id not in previews]
    sources = {source for id in graph for _, source in links(graph, id)}
    savers, last = [id for id in others if _stores(graph[id])], [id for id in others if id not in sources]
    for found in (savers, last, previews):
        if len(found) == 1:
            return found[0]
        if found:
            nodes = ", ".join(f"{id} ({node_name(graph[id])})" for id in found)
            raise WorkflowError(f"several nodes store an image: {nodes}; set {SETTING} to the id or title of one")
    reasons = [f"{place(graph, id)} {reason}" for id in receivers if (reason := _why_unusable(graph[id]))]
    raise WorkflowError(
        "it has no node that stores an image, as SaveImage does" + "".join(f"; {each}" for each in reasons)
    )


def warnings(graph: Graph) -> list[str]:
    """Nodes that make several images."""
    sizes = {id: node["inputs"].get("batch_size") for id, node in graph.items()}
    return [
        f"{place(graph, id)}: its batch_size is {size}; a generation holds one image, the others are lost; set it to 1"
        for id, size in sizes.items()
        if isinstance(size, int) and size > 1
    ]


def _stores(node: dict[str, Any]) -> bool:
    return "filename_prefix" in node["inputs"] or "save" in node["class_type"].lower()


def _why_unusable(node: dict[str, Any]) -> str | None:
    """Why a node's image can't be delivered, with a remedy."""
    kind = node["class_type"]
    if kind == "SaveImageWebsocket":
        return f"is a {kind}, which stores no file; replace it with SaveImage"
    if kind == "Image Save" and str(node["inputs"].get("show_previews")).lower() == "false":
        return f'is an {kind}, which reports no file; set its show_previews to "true" or replace it with SaveImage'
    if kind in VIDEO_SAVERS:
        return f"is a {kind}, which stores a video; add a SaveImage node for the image"
    return None
