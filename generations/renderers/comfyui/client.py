import json
import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.comfyui import outcome, refusal
from generations.renderers.comfyui.address import PREVIEW_METHODS
from generations.renderers.http import diagnosis
from generations.renderers.http.calls import Answer, Calls, Unreachable
from generations.renderers.untrusted import as_dict, as_list
from lockngen.plain import plain, plain_values

logger = logging.getLogger(__name__)

VIEW_SECONDS = 120.0  # for a whole image
MAX_LOGGED = 10_000  # characters of an answer
RECENT = 100  # prompts of the history that are searched for one of unknown id
TRANSIENT = {408, 425, 429, 502, 503, 504}  # such as those of a proxy while the server behind it starts
QUEUES = (("queue_running", True), ("queue_pending", False))
# Maximum bytes of an answer: with a few figures, with one prompt's outcome, and with the prompts of all clients.
SMALL, MIDDLE, LARGE = 64 * 1024, 8 * 1024 * 1024, 32 * 1024 * 1024


class Gone(Exception):
    """The server doesn't have the file that its history names."""


@dataclass(frozen=True, slots=True)
class Position:
    """The state of a prompt: waiting, running, or ended with an entry in the history."""

    prompt_id: str
    is_running: bool = False
    entry: dict[str, Any] | None = None

    @property
    def can_be_reused(self) -> bool:
        """Whether its outcome is valid for a later attempt too."""
        return self.entry is None or not isinstance(outcome.error_of(self.entry), RendererFailure)


class Client:
    """The tag of a prompt is the `client_id` of its submission, which the queue and the history contain."""

    def __init__(self, calls: Calls, preview_method: str = PREVIEW_METHODS[0]):
        self._calls, self._preview_method = calls, preview_method

    def submit(self, graph: dict[str, Any], id: str, output: str) -> str:
        """Queue a graph under an id that is also its tag, and return the prompt's id: older servers generate their own.

        Raises RenderError if the server refuses the graph or this output node of it.
        """
        extra = {"preview_method": self._preview_method}  # an older server ignores it
        body = {"prompt": graph, "prompt_id": id, "client_id": id, "extra_data": extra}
        answer = self._call("POST", "/prompt", body, most=MIDDLE, accepted=400)
        content = answer.json()
        refusals = refusal.read(content, graph)
        if refusals:
            logger.error("ComfyUI refused the graph of generation %s: %s", id, json.dumps(content)[:MAX_LOGGED])
        if answer.status == 400:
            raise RenderError(refusal.text(refusals))
        if fatal := [each for each in refusals if not each.outputs or output in each.outputs]:
            self.cancel(id)  # the server executes the other outputs, which are not needed
            raise RenderError(refusal.text(fatal))
        if not isinstance(content.get("prompt_id"), str):
            raise diagnosis.invalid_response("it accepted a prompt but returned no id")
        return content["prompt_id"]

    def find(self, prompt_id: str, tag: str, thoroughly: bool = False) -> Position | None:
        """Find a prompt by its id or its tag; None if the server doesn't have it.

        It may move from the queue to the history meanwhile, so the history is read before and after the queue. A
        thorough search also finds prompts in the history whose id the server has generated.
        """
        return (
            self._ended(prompt_id)
            or next((position for position, tags in self._queue() if {prompt_id, tag} & tags), None)
            or self._ended(prompt_id)
            or (self._recently_ended(tag) if thoroughly else None)
        )

    def remove(self, prompt_id: str) -> None:
        """Remove a prompt from the history, where it would be found as the outcome of the next one with its id."""
        self._call("POST", "/history", {"delete": [prompt_id]})

    def cancel(self, tag: str) -> None:
        """Cancel the prompts of a tag, and no others."""
        waiting = [at.prompt_id for at, tags in self._queue() if tag in tags and not at.is_running]
        if waiting:
            self._call("POST", "/queue", {"delete": waiting})
        # One may have started meanwhile. Older servers interrupt any prompt, so this is sent only while this one runs.
        for running in [at.prompt_id for at, tags in self._queue() if tag in tags and at.is_running]:
            self._call("POST", "/interrupt", {"prompt_id": running})

    def view(self, image: dict[str, str]) -> bytes:
        answer = self._calls.image("GET", "/view", params=image, seconds=VIEW_SECONDS)
        if answer.status == 404:
            raise Gone
        _check_status(answer)
        return answer.content

    def state(self) -> dict[str, Any]:
        stats = self._call("GET", "/system_stats", most=SMALL).json()
        devices = [plain(device.get("name"), 100) for device in map(as_dict, as_list(stats.get("devices"))) if device]
        queue = as_dict(self._call("GET", "/prompt", most=SMALL).json().get("exec_info"))
        return {
            "version": plain_values(as_dict(stats.get("system")).get("comfyui_version")),
            "devices": ", ".join(devices) or None,
            "prompts": plain_values(queue.get("queue_remaining")),
        }

    def node_info(self, kind: str) -> dict[str, Any] | None:
        """The description of a class of nodes in `/object_info`, or None if the server has no such class."""
        info = self._call("GET", f"/object_info/{quote(kind, safe='')}", most=MIDDLE).json().get(kind)
        return info if isinstance(info, dict) else None

    def _ended(self, prompt_id: str) -> Position | None:
        entry = self._call("GET", f"/history/{quote(prompt_id, safe='')}", most=MIDDLE).json().get(prompt_id)
        return Position(prompt_id, entry=entry) if isinstance(entry, dict) else None

    def _recently_ended(self, tag: str) -> Position | None:
        history = self._call("GET", f"/history?max_items={RECENT}", most=LARGE).json()
        ended = [Position(id, entry=entry) for id, entry in history.items() if isinstance(entry, dict)]
        return next((at for at in reversed(ended) if tag in _tags(at.entry.get("prompt"))), None)

    def _queue(self) -> list[tuple[Position, set[str]]]:
        """The running and the waiting prompts, each with its ids."""
        content = self._call("GET", "/queue", most=LARGE).json()
        items = [(item, is_running) for key, is_running in QUEUES for item in as_list(content.get(key))]
        return [(Position(item[1], is_running), _tags(item)) for item, is_running in items if _tags(item)]

    def _call(self, method: str, path: str, body: dict | None = None, most: int = SMALL, accepted: int = 200) -> Answer:
        answer = self._calls.call(method, path, body, most=most)
        if answer.status != accepted:
            _check_status(answer)
        return answer


def _check_status(answer: Answer) -> None:
    if 200 <= answer.status < 300:
        return
    if answer.status in TRANSIENT:
        raise Unreachable("The renderer is not ready.", f"{answer.call} was answered with {answer.status}")
    if answer.refuses_access:
        raise RendererFailure("The renderer refuses access to this service.", answer.diagnosis)
    raise diagnosis.invalid_response(answer.diagnosis)


def _tags(item: Any) -> set[str]:
    """The id and the client's id of a prompt in the form of queue and history: `[number, id, graph, extra, …]`."""
    if not (isinstance(item, list) and len(item) > 3 and isinstance(item[1], str)):
        return set()
    tag = as_dict(item[3]).get("client_id")
    return {item[1], tag} if isinstance(tag, str) else {item[1]}
