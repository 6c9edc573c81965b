"""How tests have the double render."""

import pytest

from generations.renderers.comfyui import ComfyUIRenderer
from generations.renderers.workflows import read
from generations.renderers.workflows.workflow import Workflow


class Stop(Exception):
    """What progress raises where a render has to end."""


def make_renderer(double, authorization: str = "", **workflows: Workflow) -> ComfyUIRenderer:
    found = read().beginning_with("blank")
    found.workflows.update(workflows)
    return ComfyUIRenderer(double.url, found, authorization)


def leave_running(double, render, request) -> None:
    """What a worker leaves that stops or dies while its prompt runs."""

    def stop(percent: int) -> None:
        if double.queue()[0]:
            raise Stop

    with pytest.raises(Stop):
        render(request, stop)
