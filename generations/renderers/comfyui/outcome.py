"""The outcome of a prompt, from its entry in ComfyUI's history, with messages for clients.

The server's own texts may name its files and hosts, so only the names of nodes, inputs and errors are passed on.
"""

import re
from typing import Any

from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.comfyui.refusal import clean_name
from generations.renderers.untrusted import as_dict, as_list

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Errors that a valid graph may cause: the next attempt may have more memory, or a GPU that works again.
TRANSIENT = {
    "The renderer ran out of memory.": re.compile(r"out ?of ?memory", re.IGNORECASE),
    "The renderer's GPU failed.": re.compile(r"(cuda|cudnn|cublas|hip)( error|_status)", re.IGNORECASE),
}


def image(entry: dict[str, Any], output: str, name: str = "") -> dict[str, str]:
    """The parameters of `/view` for a node's image: the first that is stored, or else the first preview.

    Raises RenderError if another attempt would end the same way, and RendererFailure if it might not.
    """
    if error := error_of(entry):
        raise error
    # Most nodes list their images under "images", some under a name of their own.
    found = [
        {name: str(file.get(name, "")) for name in ("filename", "subfolder", "type")}
        for files in as_dict(as_dict(entry.get("outputs")).get(output)).values()
        for file in map(as_dict, as_list(files))
        if file.get("filename")
    ]
    images = [file for file in found if file["filename"].lower().endswith(SUFFIXES)]
    if images:
        return min(images, key=lambda image: image["type"] != "output")
    kinds = ", ".join(sorted({clean_name(file["filename"].rpartition(".")[2]) for file in found}))
    accepted = ", ".join(suffix[1:] for suffix in SUFFIXES)
    reason = f"stored {kinds}; it has to be {accepted}" if found else "reported no file; use SaveImage"
    raise RenderError(f"The workflow produced no image: its node {clean_name(name or output)} {reason}.")


def images_beside(entry: dict[str, Any], image: dict[str, str]) -> int:
    """The number of further images that the image's node stored, as with a batch_size above 1."""
    for output in map(as_dict, as_dict(entry.get("outputs")).values()):
        for files in map(as_list, output.values()):
            names = [file.get("filename") for file in files if isinstance(file, dict)]
            if image["filename"] in names:
                return len(names) - 1
    return 0


def error_of(entry: dict[str, Any]) -> RenderError | RendererFailure | None:
    """The error of a prompt, if it failed. Another attempt may succeed after a RendererFailure."""
    status = as_dict(entry.get("status"))
    if status.get("status_str") != "error":
        return None
    messages = [message for message in as_list(status.get("messages")) if len(as_list(message)) == 2]
    events = {name: as_dict(data) for name, data in messages if isinstance(name, str)}
    if "execution_error" not in events:
        return RendererFailure("The renderer was interrupted.")
    error = events["execution_error"]
    for message, pattern in TRANSIENT.items():
        if pattern.search(f"{error.get('exception_type')} {error.get('exception_message')}"):
            return RendererFailure(message)
    kind = clean_name(str(error.get("exception_type")).rpartition(".")[2])
    return RenderError(f"The workflow failed at its node {clean_name(error.get('node_type'))}: {kind}.")
