"""Renders with ComfyUI: fills a workflow, submits it to a server and fetches the image."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from generations.renderers.base import WAITING, Progress, RendererFailure, RenderRequest
from generations.renderers.comfyui import address, capabilities
from generations.renderers.comfyui.client import Client
from generations.renderers.comfyui.events import Events
from generations.renderers.comfyui.prompt import Prompt
from generations.renderers.http.calls import Calls, tls
from generations.renderers.support import Support
from generations.renderers.workflows import Catalogue

logger = logging.getLogger(__name__)

# Seconds for all calls of a state, a cancel, and the description of all nodes.
ANSWERED_WITHIN, CANCELLED_WITHIN, DESCRIBED_WITHIN = 3.0, 5.0, 10.0


class ComfyUIRenderer:
    """A generation's id is its prompt's id, its client's id, and a part of its file's name on the server.

    So the next attempt finds the prompt of an earlier one, whether it waits, runs or has ended.
    """

    def __init__(self, url: str, catalogue: Catalogue, authorization: str = ""):
        self.address = address.parse(url)
        self.catalogue = catalogue
        self.authorization = authorization
        self.concurrency = self.address.concurrency
        self.models = {name: workflow.model for name, workflow in catalogue.workflows.items()}

    def render(self, request: RenderRequest, progress: Progress) -> bytes:
        workflow = self.catalogue.workflows[request.model]
        progress(WAITING)
        events = Events(self.address, str(request.id), self.authorization, tls())
        with events, self._client(tick=lambda: prompt.tick()) as client:
            prompt = Prompt(client, events, request, workflow, progress, self.address.patience)
            return prompt.render()

    def cancel(self, id: UUID) -> None:
        """Cancel the generation's prompt on the server, and no other."""
        try:
            with self._client(seconds=CANCELLED_WITHIN) as client:
                client.cancel(str(id))
        except RendererFailure as failure:
            logger.warning("Generation %s may still be rendered: %s", id, failure.reason)

    def can_resume(self, id: UUID) -> bool:
        """Whether the server has a prompt of the generation that can be reused. False without an answer."""
        with suppress(RendererFailure), self._client(seconds=ANSWERED_WITHIN) as client:
            found = client.find(str(id), str(id), thoroughly=True)
            return found is not None and found.can_be_reused
        return False

    def support(self) -> dict[str, Support]:
        with self._client(seconds=DESCRIBED_WITHIN) as client:
            return capabilities.read(client, self.catalogue.workflows.values())

    def state(self) -> dict[str, Any]:
        with self._client(seconds=ANSWERED_WITHIN) as client:
            return client.state()

    @contextmanager
    def _client(self, **limits) -> Iterator[Client]:
        with Calls(self.address.location, self.authorization, **limits) as calls:
            yield Client(calls, self.address.preview_method)
