"""What a ComfyUI server lacks for a workflow, according to `/object_info`."""

from collections.abc import Iterable, Mapping
from typing import Any

from generations.renderers.base import MAX_SEED, RendererFailure
from generations.renderers.comfyui.client import Client
from generations.renderers.http.calls import Unreachable
from generations.renderers.support import Support
from generations.renderers.untrusted import as_dict, as_list
from generations.renderers.workflows import Workflow
from generations.renderers.workflows.graph import upstream
from generations.renderers.workflows.placeholders import PLACEHOLDER
from lockngen.plain import plain

MAX_VALUE = 100  # characters in a message
KINDS = {
    "ckpt_name": "checkpoint",
    "unet_name": "diffusion model",
    "clip_name": "text encoder",
    "vae_name": "VAE",
    "lora_name": "LoRA",
    "control_net_name": "ControlNet",
}

NodeInfo = Mapping[str, Any]


def read(client: Client, workflows: Iterable[Workflow]) -> dict[str, Support]:
    """The support of each workflow, by its model's name. Raises RendererFailure without an answer."""
    workflows = list(workflows)
    kinds = {node["class_type"] for workflow in workflows for node in workflow.graph.values()}
    nodes = {kind: _node_info(client, kind) for kind in sorted(kinds)}
    return {workflow.model.name: support(workflow, nodes) for workflow in workflows}


def _node_info(client: Client, kind: str) -> NodeInfo | None:
    try:
        return client.node_info(kind)
    except Unreachable:
        raise
    except RendererFailure:
        return {}  # the node exists but its description fails


def support(workflow: Workflow, nodes: Mapping[str, NodeInfo | None]) -> Support:
    """The support of a workflow. A class in `nodes` is None if the server doesn't have it."""
    missing, largest = [], MAX_SEED
    needed = upstream(workflow.graph, workflow.output)
    for id, node in workflow.graph.items():
        info = nodes.get(node["class_type"], {})
        if info is None:
            missing.append(f"the node {plain(node['class_type'], MAX_VALUE)}")
            continue
        for name, value in node["inputs"].items() if id in needed else ():
            kind, options = _config(info, name)
            value = workflow.checkpoint if _placeholder(value) == "checkpoint" else value
            if _placeholder(value) == "seed":
                largest = min(largest, _maximum(kind, options))
            elif _is_absent(value, _choices(kind, options)):
                what = KINDS.get(name) or f"{name} of {node['class_type']}"
                missing.append(f"the {what} {plain(value, MAX_VALUE)}")
    return Support(tuple(dict.fromkeys(missing)), largest)


def _config(info: NodeInfo, name: str) -> tuple[Any, dict[str, Any]]:
    """The type of an input and its options."""
    for group in as_dict(info.get("input")).values():
        if config := as_list(as_dict(group).get(name)):
            return config[0], as_dict(config[1]) if len(config) > 1 else {}
    return None, {}


def _placeholder(value: Any) -> str | None:
    whole = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    return whole[1] if whole else None


def _choices(kind: Any, options: dict[str, Any]) -> list[Any] | None:
    """The valid values of an input, or None if any is valid. The list may be empty, as without any checkpoint."""
    if any(name.endswith("_upload") and value for name, value in options.items()) or "remote" in options:
        return None
    choices = options.get("options") if kind == "COMBO" else kind
    return choices if isinstance(choices, list) else None


def _is_absent(value: Any, choices: list[Any] | None) -> bool:
    if choices is None or isinstance(value, list | dict) or (isinstance(value, str) and PLACEHOLDER.search(value)):
        return False
    return value not in choices


def _maximum(kind: Any, options: dict[str, Any]) -> int:
    largest = options.get("max")
    is_given = kind == "INT" and isinstance(largest, int | float) and largest >= 0
    return int(min(MAX_SEED, largest)) if is_given else MAX_SEED
