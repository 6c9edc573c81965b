"""The nodes of the double, as `/object_info` describes them, and ComfyUI's validation of a graph."""

import json

LARGEST_INTEGER = 2**64 - 1
CHECKPOINTS = ["flux1-dev-fp8.safetensors", "sd_xl_base_1.0.safetensors"]
SIZE = ["INT", {"min": 16, "max": 16384}]
BATCH = ["INT", {"min": 1, "max": 4096}]
NODES = {
    "CheckpointLoaderSimple": ({"ckpt_name": [CHECKPOINTS]}, ["MODEL", "CLIP", "VAE"]),
    "CLIPTextEncode": ({"text": ["STRING", {}], "clip": ["CLIP", {}]}, ["CONDITIONING"]),
    "ConditioningZeroOut": ({"conditioning": ["CONDITIONING", {}]}, ["CONDITIONING"]),
    "EmptyImage": (
        {"width": SIZE, "height": SIZE, "batch_size": BATCH, "color": ["INT", {"min": 0, "max": 0xFFFFFF}]},
        ["IMAGE"],
    ),
    "EmptyLatentImage": ({"width": SIZE, "height": SIZE, "batch_size": BATCH}, ["LATENT"]),
    "EmptySD3LatentImage": ({"width": SIZE, "height": SIZE, "batch_size": BATCH}, ["LATENT"]),
    "FluxGuidance": (
        {"conditioning": ["CONDITIONING", {}], "guidance": ["FLOAT", {"min": 0, "max": 100}]},
        ["CONDITIONING"],
    ),
    "KSampler": (
        {
            "model": ["MODEL", {}],
            "positive": ["CONDITIONING", {}],
            "negative": ["CONDITIONING", {}],
            "latent_image": ["LATENT", {}],
            "seed": ["INT", {"min": 0, "max": LARGEST_INTEGER}],
            "steps": ["INT", {"min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"min": 0, "max": 100}],
            "sampler_name": [["euler", "dpmpp_2m"]],
            "scheduler": [["simple", "karras"]],
            "denoise": ["FLOAT", {"min": 0, "max": 1}],
        },
        ["LATENT"],
    ),
    "PreviewImage": ({"images": ["IMAGE", {}]}, []),
    "SaveImage": ({"images": ["IMAGE", {}], "filename_prefix": ["STRING", {}]}, []),
    "VAEDecode": ({"samples": ["LATENT", {}], "vae": ["VAE", {}]}, ["IMAGE"]),
}
ALL_NODES, ALL_CHECKPOINTS = dict(NODES), list(CHECKPOINTS)
OUTPUT_NODES = {"PreviewImage", "SaveImage"}


def leave_out(names: list[str]) -> None:
    """Remove these nodes and checkpoints from the server."""
    CHECKPOINTS[:] = [name for name in ALL_CHECKPOINTS if name not in names]
    NODES.clear()
    NODES.update({name: node for name, node in ALL_NODES.items() if name not in names})


def object_info(names) -> dict:
    return {
        name: {
            "input": {"required": NODES[name][0]},
            "output": NODES[name][1],
            "name": name,
            "output_node": name in OUTPUT_NODES,
        }
        for name in names
        if name in NODES
    }


def validate(graph: dict) -> tuple[dict | None, dict]:
    """The error for which a graph is refused, or None, and the errors of its nodes."""
    for id, node in graph.items():
        if node.get("class_type") not in NODES:
            message = f"Node '{node.get('class_type')}' not found. The custom node may not be installed."
            return problem("missing_node_type", message, f"Node ID '#{id}'"), {}
    outputs = [id for id, node in graph.items() if node["class_type"] in OUTPUT_NODES]
    if not outputs:
        return problem("prompt_no_outputs", "Prompt has no outputs"), {}
    errors, good = {}, []
    for output in outputs:
        wrong = {id: found for id in ancestors(graph, output) if (found := node_errors(graph, id))}
        for id, found in wrong.items():
            entry = {"errors": found, "dependent_outputs": [], "class_type": graph[id]["class_type"]}
            errors.setdefault(id, entry)["dependent_outputs"].append(output)
        good += [] if wrong else [output]
    return (None if good else problem("prompt_outputs_failed_validation", "Prompt outputs failed validation")), errors


def ancestors(graph: dict, id: str) -> list[str]:
    """A node and its inputs, in the order of execution."""
    found = [found for _, link in links(graph[id]) if link[0] in graph for found in ancestors(graph, link[0])]
    return [*dict.fromkeys([*found, id])]


def signature(graph: dict, id: str) -> str:
    """The cache key of a node: everything that its output depends on."""
    inputs = {
        name: [signature(graph, value[0]), value[1]] if isinstance(value, list) else value
        for name, value in graph[id]["inputs"].items()
    }
    return json.dumps([graph[id]["class_type"], inputs], sort_keys=True)


def links(node: dict) -> list[tuple[str, list]]:
    return [(name, value) for name, value in node["inputs"].items() if isinstance(value, list)]


def node_errors(graph: dict, id: str) -> list[dict]:
    node = graph[id]
    required = NODES[node["class_type"]][0]
    return [error for name, config in required.items() if (error := input_error(graph, node["inputs"], name, config))]


def input_error(graph: dict, inputs: dict, name: str, config: list) -> dict | None:
    if name not in inputs:
        return problem("required_input_missing", "Required input is missing", name, name)
    value, kind, limits = inputs[name], config[0], config[1] if len(config) > 1 else {}
    if isinstance(value, list):
        received = NODES[graph[value[0]]["class_type"]][1][value[1]]
        mismatch = f"{name}, received_type({received}) mismatch input_type({kind})"
        return (
            None
            if received == kind
            else problem("return_type_mismatch", "Return type mismatch between linked nodes", mismatch, name)
        )
    if isinstance(kind, list):
        details = f"{name}: '{value}' not in {kind}"
        return None if value in kind else problem("value_not_in_list", "Value not in list", details, name)
    try:
        value = {"INT": int, "FLOAT": float, "STRING": str}[kind](value)
    except (KeyError, ValueError, TypeError) as error:
        message = f"Failed to convert an input value to a {kind} value"
        return problem("invalid_input_type", message, f"{name}, {value}, {error}", name)
    if "min" in limits and value < limits["min"]:
        return problem("value_smaller_than_min", f"Value {value} smaller than min of {limits['min']}", name, name)
    if "max" in limits and value > limits["max"]:
        return problem("value_bigger_than_max", f"Value {value} bigger than max of {limits['max']}", name, name)
    return None


def problem(kind: str, message: str, details: str = "", input_name: str = "") -> dict:
    extra = {"input_name": input_name} if input_name else {}
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
