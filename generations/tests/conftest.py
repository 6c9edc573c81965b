from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image

from generations.renderers import RenderRequest
from generations.tests.comfyui.process import Double
from generations.tests.comfyui.renders import make_renderer
from lockngen.tests.conftest import free_port


@pytest.fixture(scope="session")
def double_process(tmp_path_factory):
    process = Double(free_port(), tmp_path_factory.mktemp("comfyui"))
    yield process
    process.stop()


@pytest.fixture
def double(double_process) -> Double:
    """A ComfyUI without a model, in a process of its own, with nothing to do and nothing wrong with it."""
    double_process.empty()
    return double_process


@pytest.fixture
def make_request():
    def make(**fields) -> RenderRequest:
        defaults = {"negative_prompt": "", "model": "blank", "width": 64, "height": 64, "steps": 30, "guidance": 7.0}
        return RenderRequest(**{"id": uuid4(), "prompt": "a lighthouse", "seed": None, **defaults, **fields})

    return make


@pytest.fixture
def render(double):
    """Render a request and return the picture; `progress` is what the renderer calls."""

    def render(request, progress=lambda percent: None, **options) -> Image.Image:
        return Image.open(BytesIO(make_renderer(double, **options).render(request, progress)))

    return render
