"""Renders with the double."""

import pytest

from generations.renderers.comfyui import ComfyUIRenderer
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import Workflow


class Stop(Exception):
    """Raised by the progress callback to stop a render."""


def make_renderer(double, authorization: str = "", **workflows: Workflow) -> ComfyUIRenderer:
    found = read().beginning_with("blank")
    found.workflows.update(workflows)
    return ComfyUIRenderer(double.url, found, authorization)


def leave_running(double, render, request) -> None:
    """Stop a render while its prompt runs, as a worker that stops or dies."""

    def stop(percent: int) -> None:
        if double.queue()[0]:
            raise Stop

    with pytest.raises(Stop):
        render(request, stop)
