"""The state of a ComfyUI server, as operators see it."""

from uuid import uuid4

from generations.tests.support.comfyui.renders import make_renderer


def test_state__shows_version_and_prompts(double):
    double.set(is_held=True)
    double.submit(str(uuid4())), double.submit(str(uuid4()))

    assert make_renderer(double).state() == {"version": "double", "devices": None, "prompts": 2}
