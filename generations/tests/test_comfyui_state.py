"""What an operator is told of a ComfyUI server."""

from uuid import uuid4

import pytest

from generations.renderers import RendererFailure, get_pool
from generations.tests.support.comfyui.renders import make_renderer


def test_state__shows_version_and_prompts(double):
    double.set(seconds=20)
    double.submit(str(uuid4())), double.submit(str(uuid4()))

    assert make_renderer(double).state() == {"version": "double", "devices": None, "prompts": 2}


def test_state__of_a_server_that_is_away_is_down(double, settings):
    settings.RENDERER_URL = [double.url]
    double.kill()

    with pytest.raises(RendererFailure):
        make_renderer(double).state()
    assert get_pool().states()[0]["state"] == "down"
