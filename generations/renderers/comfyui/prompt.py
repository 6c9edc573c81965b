"""One generation's prompt on a ComfyUI server, from its submission to its image."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import RetryCallState, retry_if_exception_type, stop_after_delay

from generations.images import formats
from generations.renderers.base import WAITING, Percent, Progress, RendererFailure, RenderError, RenderRequest
from generations.renderers.comfyui import outcome
from generations.renderers.comfyui.client import MAX_LOGGED, Client, Gone
from generations.renderers.comfyui.events import Events
from generations.renderers.comfyui.stages import Stages
from generations.renderers.http.calls import Unreachable
from generations.renderers.workflows import Workflow
from lockngen import retry_policies

logger = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER = "lockngen"  # in the server's folder of output
# Seconds between two queries of the prompt's position: with events, without events, and at first after the event of its
# end, as the server writes its history after that event.
POLL, POLL_WITHOUT_EVENTS, POLL_AT_END = 2.0, 0.5, 0.05
TICK = 0.25  # seconds between two calls of progress
SUBMISSIONS = 3  # of one attempt, if the server lost the prompt before it began
ENDS = {"execution_success", "execution_error", "execution_interrupted"}


class Prompt:
    """The server's queue and history, read by HTTP, are authoritative. Events only trigger reading them."""

    def __init__(
        self,
        client: Client,
        events: Events,
        request: RenderRequest,
        workflow: Workflow,
        progress: Progress,
        patience: float,
    ):
        self.client, self.events = client, events
        self.tag, self.workflow = str(request.id), workflow
        # Each attempt has its own file name: for equal inputs ComfyUI uses its cache and writes no new file.
        self.graph = workflow.fill(request, f"{FOLDER}/{request.id}_{request.attempt}")
        self.progress, self.patience = progress, patience
        self.stages = Stages(self.graph)
        self.prompt_id = self.tag
        self.has_begun = False
        self.last_event_of: str | None = None  # the id of a prompt
        self.preview: bytes | None = None
        self.may_have_been_submitted = request.attempt > 1

    def render(self) -> bytes:
        """Reuse the prompt of an earlier attempt or submit one, wait for it and return the image."""
        for _ in range(SUBMISSIONS):
            self.prompt_id = self._retry(self._find_or_submit)
            if entry := self._follow(self.prompt_id):
                return self._fetch(self.prompt_id, entry)
            # A prompt that was only waiting when the server lost it is unlikely to be the cause.
            if self.has_begun:
                break
        raise RendererFailure("The renderer was restarted and lost the prompt.")

    def _find_or_submit(self) -> str:
        # A lost answer may have been that of an accepted submission, so each attempt searches first.
        found = self.client.find(self.tag, self.tag, thoroughly=self.may_have_been_submitted)
        self.events.connect()
        if found and not found.can_be_reused:
            self.client.remove(found.prompt_id)
        elif found:
            logger.info("Generation %s: prompt %s exists already.", self.tag, found.prompt_id)
            return found.prompt_id
        self.may_have_been_submitted = True
        return self.client.submit(self.graph, self.tag, self.workflow.output)

    def _follow(self, prompt_id: str) -> dict[str, Any] | None:
        """Wait for the entry in the history; None if the prompt is lost."""
        pause = POLL
        while position := self._retry(lambda: self.client.find(prompt_id, self.tag)):
            if position.entry:
                return position.entry
            self.has_begun = self.has_begun or position.is_running
            pause = POLL_AT_END if self._wait_for_end(pause) else min(POLL, 2 * pause)
        self._wait_for_end(POLL_AT_END)  # an event that it had started may have arrived before
        return None

    def _wait_for_end(self, seconds: float) -> bool:
        """Process events for some seconds or until the prompt ends; return whether it ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            event = self.events.next(min(left, TICK))
            if self._process(event):
                return True
            self.tick()
            if not self.events.is_live:
                deadline = min(deadline, time.monotonic() + POLL_WITHOUT_EVENTS)
        return False

    def _process(self, event: dict[str, Any]) -> bool:
        """Process an event of this prompt; return whether it is the end."""
        kind, data = event.get("type"), event.get("data", {})
        is_preview = isinstance(data.get("image"), bytes)
        # An older server sends a preview without an id, after an event of its prompt.
        prompt_id = data.get("prompt_id", self.last_event_of if is_preview else None)
        self.last_event_of = prompt_id or self.last_event_of
        if prompt_id != self.prompt_id:  # ComfyUI broadcasts the events of prompts without a client_id
            return False
        self.has_begun = True
        if is_preview:
            self.preview = data["image"]
            return False
        self.stages.process(kind, data)
        return kind in ENDS or (kind == "executing" and data.get("node") is None)

    def _fetch(self, prompt_id: str, entry: dict[str, Any]) -> bytes:
        try:
            where = outcome.image(entry, self.workflow.output, self.workflow.output_name)
        except Exception:
            status = json.dumps(entry.get("status"))
            logger.warning("Generation %s: prompt %s ended with %s", self.tag, prompt_id, status[:MAX_LOGGED])
            raise
        if more := outcome.images_beside(entry, where):
            logger.warning("Generation %s: it produced %d more images, which are not stored.", self.tag, more)
        try:
            image = self._retry(lambda: self.client.view(where))
            formats.check(image)
        except formats.NotAccepted as error:
            raise RenderError(str(error)) from None
        except (Gone, ValueError) as error:
            # Otherwise every later attempt would reuse the entry and fail.
            self._retry(lambda: self.client.remove(prompt_id))
            what = "lost the image" if isinstance(error, Gone) else "returned a file that is not an image"
            raise RendererFailure(f"The renderer {what}.", error) from error
        self.progress(100)
        return image

    def _retry(self, call: Callable[[], T]) -> T:
        """The call's result, retried while the server is unavailable, for at most `patience` seconds."""
        return retry_policies.COMFYUI_CALL.retrying(
            retry_if_exception_type(Unreachable),
            stop=stop_after_delay(self.patience),
            sleep=self._pause,
            before_sleep=self._log_first_failure,
        )(call)

    def _log_first_failure(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            error = state.outcome.exception()
            logger.warning("Generation %s: %s Waiting up to %g s: %s", self.tag, error, self.patience, error.reason)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(TICK, left))

    def tick(self) -> None:
        self.progress(Percent(self.stages.percent, preview=self.preview) if self.has_begun else WAITING)
