"""The fields of a request for an image, and which of them a server has refused."""

import json
import re
from typing import Any

from generations.renderers.base import RenderRequest
from generations.renderers.http.calls import Answer

LARGEST_SEED = 2**31 - 1  # of the 32-bit number that some servers use
# Parameters beyond OpenAI's: steps and guidance have several names, of which a server uses the one that it has.
EXTRAS = {
    "width": "width",
    "height": "height",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
    "steps": "steps",
    "num_inference_steps": "steps",
    "step": "steps",
    "cfg": "guidance",
    "guidance_scale": "guidance",
}
OPTIONAL = {*EXTRAS, "response_format"}
UNKNOWN = re.compile(
    r"un(known|recogni[sz]ed|supported|expected)|not (supported|permitted|allowed)|extra_forbidden|additional ?propert",
    re.IGNORECASE,
)


def body(request: RenderRequest, model: str | None, style: str, without: frozenset[str]) -> dict[str, Any]:
    """The body of a request, without the fields that the server refuses."""
    fields = {
        "model": model,
        "prompt": _tag(request) + request.prompt if style == "sdcpp" else request.prompt,
        "n": 1,
        "size": f"{request.width}x{request.height}",
        "response_format": "b64_json",
    }
    if style == "extended":
        fields |= {name: getattr(request, parameter) for name, parameter in EXTRAS.items()}
    return {name: value for name, value in fields.items() if value not in (None, "") and name not in without}


def _tag(request: RenderRequest) -> str:
    """The parameters as stable-diffusion.cpp reads them: from the first tag of the prompt, before any of the client."""
    arguments = {
        "seed": request.seed,
        "negative_prompt": request.negative_prompt,
        "steps": request.steps,
        "cfg_scale": request.guidance,
        "sample_params": {"sample_steps": request.steps, "guidance": {"txt_cfg": request.guidance}},
    }
    text = json.dumps(arguments).replace("<", "\\u003c")  # a negative prompt must not end the tag
    return f"<sd_cpp_extra_args>{text}</sd_cpp_extra_args>"


def refused(answer: Answer, sent: dict[str, Any]) -> frozenset[str]:
    """The optional fields that the server doesn't have, according to its error. Some servers name one at a time."""
    text = answer.content.decode("utf-8", "replace") if answer.status in (400, 422) else ""
    if not UNKNOWN.search(text):
        return frozenset()
    return frozenset(name for name in OPTIONAL & sent.keys() if re.search(rf"(?<!\w){name}(?!\w)", text))
