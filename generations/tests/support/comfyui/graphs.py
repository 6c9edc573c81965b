"""Workflow files in ComfyUI's API format."""

import json

SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}}


def make_file(inputs: dict | None = None, **nodes_or_settings) -> str:
    """An EmptyImage with these inputs, its SaveImage, and further nodes by id."""
    image = {"class_type": "EmptyImage", "inputs": inputs or {}}
    return json.dumps({"1": image, "2": SAVE, **nodes_or_settings})


def make_saver(kind: str, **inputs) -> str:
    return make_file(**{"2": {"class_type": kind, "inputs": {"images": ["1", 0], **inputs}}})
