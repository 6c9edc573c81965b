"""The outcome of a prompt, from its entry in ComfyUI's history, with messages for clients.

The server's own texts name its files and hosts, so of these only the names of nodes, inputs and errors are passed on.
"""

import re
from typing import Any

from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.comfyui.refusal import name as _name

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Errors that a node may have with a valid graph: the next attempt may have more memory, or a GPU that works again.
PASSING = {
    "The renderer ran out of memory.": re.compile(r"out ?of ?memory", re.IGNORECASE),
    "The renderer's GPU failed.": re.compile(r"(cuda|cudnn|cublas|hip)( error|_status)", re.IGNORECASE),
}


def image(entry: dict[str, Any], output: str, name: str = "") -> dict[str, str]:
    """The parameters of `/view` for the image that a node brought: the first that is stored, or else the first preview.

    Raises RenderError where another attempt would end the same way, RendererFailure where it may not.
    """
    check_status(entry)
    # Most nodes list their images under "images", some under a name of their own.
    found = [
        {name: str(file.get(name, "")) for name in ("filename", "subfolder", "type")}
        for files in _dict(_dict(entry.get("outputs")).get(output)).values()
        for file in map(_dict, _list(files))
        if file.get("filename")
    ]
    images = [file for file in found if file["filename"].lower().endswith(SUFFIXES)]
    for image in sorted(images, key=lambda image: image["type"] != "output"):
        return image
    raise RenderError(f"The workflow made no image: its node {_name(name or output)} {_instead(found)}.")


def _instead(files: list[dict[str, str]]) -> str:
    if not files:
        return "reported no file; use SaveImage"
    kinds = sorted({_name(file["filename"].rpartition(".")[2]) for file in files})
    return f"stored {', '.join(kinds)}; it has to be {', '.join(suffix[1:] for suffix in SUFFIXES)}"


def check_status(entry: dict[str, Any]) -> None:
    """Raise the error of the prompt, if it failed."""
    if _dict(entry.get("status")).get("status_str") == "error":
        raise _failure(entry)


def images_beside(entry: dict[str, Any], image: dict[str, str]) -> int:
    """How many more images of the same run the image's node stored, as with a batch_size above 1."""
    for output in map(_dict, _dict(entry.get("outputs")).values()):
        for files in map(_list, output.values()):
            names = [file.get("filename") for file in files if isinstance(file, dict)]
            if image["filename"] in names:
                return len(names) - 1
    return 0


def is_worth_keeping(entry: dict[str, Any]) -> bool:
    """Whether an entry that an earlier attempt left is this one's outcome too."""
    try:
        check_status(entry)
    except RendererFailure:
        return False
    except RenderError:
        pass
    return True


def _failure(entry: dict[str, Any]) -> Exception:
    messages = [message for message in _list(_dict(entry.get("status")).get("messages")) if len(_list(message)) == 2]
    events = {name: _dict(data) for name, data in messages if isinstance(name, str)}
    if "execution_error" not in events:
        return RendererFailure("The renderer was interrupted.")
    error = events["execution_error"]
    for said, pattern in PASSING.items():
        if pattern.search(f"{error.get('exception_type')} {error.get('exception_message')}"):
            return RendererFailure(said)
    kind = _name(str(error.get("exception_type")).rpartition(".")[2])
    return RenderError(f"The workflow failed at its node {_name(error.get('node_type'))}: {kind}.")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
