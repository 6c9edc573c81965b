"""The answers of a server with OpenAI's images API: its models, its image and its errors."""

import base64
from collections.abc import Callable
from typing import Any

from generations.renderers.base import DEFAULT_MODEL, ModelMissing, RendererFailure, RenderError, RendererUnavailable
from generations.renderers.http import diagnosis
from generations.renderers.http.calls import Answer
from generations.renderers.untrusted import as_dict, as_list, as_text, public
from lockngen import retry_after
from lockngen.plain import plain

MAX_LENGTH = 500  # characters of a message
FINAL = {400, 413, 415, 422, 451}  # the request is the cause
ABSENT = {404, 405, 410, 501}
BUSY = {408, 425, 429, 503}
MAX_MODELS = 100  # each has a queue
MAX_VALUES = 10_000  # beside an image; its bytes would suffice for values that take a gigabyte once parsed


def model_ids(answer: Answer) -> list[str]:
    """The ids of the answer to GET /v1/models. Empty if the server lists no models."""
    if answer.status in ABSENT and not answer.is_page:
        return []
    if not 200 <= answer.status < 300:
        raise RendererFailure("The renderer is not ready.", answer.diagnosis)
    ids = [as_text(as_dict(model).get("id")) for model in as_list(answer.json().get("data"))]
    ids = [id for id in ids if id]
    return [id for id in ids if id != DEFAULT_MODEL][:MAX_MODELS] or ids[:1]  # LockN Gen lists it beside the others


def check(answer: Answer, model: str) -> None:
    """Raise the error of an answer to a request for an image of a model."""
    if 200 <= answer.status < 300:
        return
    error = _error(answer)
    reason = answer.diagnosis if answer.is_page or answer.refuses_access else f"{answer.diagnosis}: {_text(error)}"
    if answer.refuses_access or answer.status == 402:
        raise ModelMissing(f"access to the model {model}", reason)
    if answer.status in ABSENT or error.get("code") == "model_not_found":
        raise ModelMissing(f"the model {model}", reason)
    if answer.status in BUSY:
        raise RendererUnavailable(
            "The renderer is not ready.", reason, retry_after.seconds(answer.headers.get("Retry-After", ""))
        )
    is_final = answer.headers.get("X-Should-Retry") == "false" and answer.status != 504  # OpenAI's SDKs read it as well
    if is_final or answer.status in FINAL:
        text = public(_text(error), MAX_LENGTH) or "it gave no reason"
        raise RenderError(f"The renderer refused the request: {text}.")
    raise RendererFailure("The renderer failed.", reason)


def image(answer: Answer, fetch: Callable[[str], bytes]) -> bytes:
    """The image of an answer, which `fetch` gets from a URL."""
    if sum(map(answer.content.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise diagnosis.invalid_response(f"{answer.call} returned more than {MAX_VALUES} values")
    data = as_dict(next(iter(as_list(answer.json().get("data"))), None))
    encoded, url = as_text(data.get("b64_json")), as_text(data.get("url"))
    if not (encoded or url):
        raise diagnosis.invalid_response(f"{answer.call} returned no image")
    if not (encoded or url.startswith("data:")):
        return fetch(url)
    try:
        return base64.b64decode((encoded or url).rpartition(",")[2])  # a data URL has a comma before the image
    except ValueError:
        raise diagnosis.invalid_response(f"{answer.call} returned an image that is not in base64") from None


def _error(answer: Answer) -> dict[str, Any]:
    """The error's object, whose message may have several names."""
    try:
        content = answer.json()
    except RendererFailure:
        return {}
    error = content.get("error") or content
    return error if isinstance(error, dict) else {"message": error}


def _text(error: dict[str, Any]) -> str:
    message = error.get("message") or error.get("detail")
    if isinstance(message, list):  # FastAPI's errors of single fields
        parts = [(as_list(each.get("loc"))[-1:], as_text(each.get("msg"))) for each in map(as_dict, message)]
        message = "; ".join(f"{place[0]}: {text}" if place else text for place, text in parts if text)
    return plain(as_text(message), MAX_LENGTH)
