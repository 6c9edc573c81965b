"""The calls of ComfyUI's HTTP interface, and what can go wrong with them."""

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from generations.renderers import picture
from generations.renderers.base import RendererFailure, RenderError
from generations.renderers.comfyui import outcome
from generations.renderers.comfyui.address import Address

logger = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(6, connect=3)  # seconds for each step of a call
LONGEST_LOGGED = 10_000  # characters of an answer
RECENT = 100  # prompts of the history that are searched for one whose id is unknown
JSON = {"Content-Type": "application/json"}
PASSING = {408, 425, 429, 502, 503, 504}  # what a proxy says while the server behind it starts
QUEUES = (("queue_running", True), ("queue_pending", False))


class Unreachable(RendererFailure):
    """No answer, or one that says that there will be one later."""


class Gone(Exception):
    """The server doesn't have the file that its history names."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a prompt is: waiting, running, or ended with an entry in the history."""

    prompt_id: str
    is_running: bool = False
    entry: dict[str, Any] | None = None

    @property
    def is_worth_adopting(self) -> bool:
        """Whether it will bring, or has brought, the outcome of whatever attempt asks."""
        return self.entry is None or outcome.is_worth_keeping(self.entry)


class Client:
    """The tag of a prompt is the `client_id` it was submitted with, which shows in the queue and in the history."""

    def __init__(self, address: Address, authorization: str, context: ssl.SSLContext):
        self._http = httpx.Client(
            base_url=address.http,
            headers={"Authorization": authorization} if authorization else {},
            timeout=TIMEOUT,
            verify=context,
            trust_env=False,  # a proxy or .netrc of the environment is not meant for it
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception) -> None:
        self._http.close()

    def submit(self, graph: dict[str, Any], id: str) -> str:
        """Queue a graph under an id that is its tag as well. Returns the id it got: older servers make their own."""
        answer = self._call("POST", "/prompt", {"prompt": graph, "prompt_id": id, "client_id": id}, takes=400)
        content = _object(answer)
        if answer.status_code == 400:
            logger.error("ComfyUI refused the graph of generation %s: %s", id, json.dumps(content)[:LONGEST_LOGGED])
            raise RenderError(outcome.refusal(content))
        if not isinstance(content.get("prompt_id"), str):
            raise _not_understood("it accepted a prompt without telling its id")
        return content["prompt_id"]

    def find(self, prompt_id: str, tag: str, thoroughly: bool = False) -> Position | None:
        """Where a prompt is, by its id or its tag; None where the server knows nothing of it.

        It goes from the queue to the history while one looks, so the history is read before and after. A thorough look
        finds in the history what the server gave an id of its own.
        """
        return (
            self._ended(prompt_id)
            or next((position for position, tags in self._queue() if {prompt_id, tag} & tags), None)
            or self._ended(prompt_id)
            or (self._recently_ended(tag) if thoroughly else None)
        )

    def forget(self, prompt_id: str) -> None:
        """Remove a prompt from the history, where it would be taken for the outcome of the next one of its id."""
        self._call("POST", "/history", {"delete": [prompt_id]})

    def cancel(self, tag: str) -> None:
        """End the prompts of a tag, and no others."""
        waiting = [at.prompt_id for at, tags in self._queue() if tag in tags and not at.is_running]
        if waiting:
            self._call("POST", "/queue", {"delete": waiting})
        # One may have begun meanwhile. Older servers interrupt whatever runs, so this is said only while it is ours.
        for running in [at.prompt_id for at, tags in self._queue() if tag in tags and at.is_running]:
            self._call("POST", "/interrupt", {"prompt_id": running})

    def view(self, image: dict[str, str], tick: Callable[[], None]) -> bytes:
        """The bytes of an image. `tick` is called in between, as they may take a while to come."""
        content = bytearray()
        with self._translated(), self._http.stream("GET", "/view", params=image) as answer:
            if answer.status_code == 404:
                raise Gone
            _check_status(answer)
            for chunk in answer.iter_bytes():
                tick()
                content += chunk
                if len(content) > picture.MOST_BYTES:
                    raise RenderError(f"The picture is larger than {picture.MOST_BYTES // 2**20} MiB.")
        return bytes(content)

    def state(self) -> dict[str, Any]:
        """What an operator wants to know of the server: its version, its devices, how many prompts it has."""
        stats = _object(self._call("GET", "/system_stats"))
        devices = [str(device.get("name")) for device in stats.get("devices") or [] if isinstance(device, dict)]
        version = (stats.get("system") or {}).get("comfyui_version")
        return {"version": version, "devices": ", ".join(devices) or None, "prompts": len(self._queue())}

    def _ended(self, prompt_id: str) -> Position | None:
        entry = _object(self._call("GET", f"/history/{quote(prompt_id, safe='')}")).get(prompt_id)
        return Position(prompt_id, entry=entry) if isinstance(entry, dict) else None

    def _recently_ended(self, tag: str) -> Position | None:
        history = _object(self._call("GET", f"/history?max_items={RECENT}"))
        ended = [Position(id, entry=entry) for id, entry in history.items() if isinstance(entry, dict)]
        return next((at for at in reversed(ended) if tag in _tags(at.entry.get("prompt"))), None)

    def _queue(self) -> list[tuple[Position, set[str]]]:
        """The prompts that run and those that wait, each with what names it."""
        content = _object(self._call("GET", "/queue"))
        items = [(item, is_running) for key, is_running in QUEUES for item in content.get(key) or []]
        return [(Position(item[1], is_running), _tags(item)) for item, is_running in items if _tags(item)]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, takes: int = 200) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        with self._translated():
            answer = self._http.request(method, path, content=content, headers=JSON if body else None)
        if answer.status_code != takes:
            _check_status(answer)
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unreachable("The renderer can't be reached.") from error


def _check_status(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    if answer.status_code in PASSING:
        raise Unreachable("The renderer is not ready.") from _said(answer)
    if answer.status_code in (401, 403):
        raise RendererFailure("The renderer refuses to work for this service.") from _said(answer)
    raise _not_understood(f"{answer.request.method} {answer.url.path} was answered with {answer.status_code}")


def _said(answer: httpx.Response) -> Exception:
    return httpx.HTTPError(f"{answer.request.method} {answer.url.path} was answered with {answer.status_code}")


def _not_understood(what: str) -> RendererFailure:
    failure = RendererFailure("The renderer answered something that wasn't understood.")
    failure.__cause__ = ValueError(what)
    return failure


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _not_understood(f"{answer.url.path} was answered with something else than a JSON object")
    return content


def _tags(item: Any) -> set[str]:
    """The id and the client's id of a prompt as the queue and the history have it: `[number, id, graph, extra, …]`."""
    if not (isinstance(item, list) and len(item) > 3 and isinstance(item[1], str)):
        return set()
    tag = item[3].get("client_id") if isinstance(item[3], dict) else None
    return {item[1], tag} if isinstance(tag, str) else {item[1]}
