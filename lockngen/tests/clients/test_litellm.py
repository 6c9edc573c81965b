"""litellm as it is, against a whole LockN Gen. Optional, as it has 60 dependencies: it runs with `-m faults`."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from lockngen.tests.support.snippets import snippet

LITELLM = "litellm==1.110.2"
CODE = """
import json
import sys

import litellm

server = {"api_base": sys.argv[1], "api_key": sys.argv[2]}
small = {"model": "openai/dall-e-2", "prompt": "a lighthouse", "size": "64x64"}


def error(**fields):
    try:
        litellm.image_generation(**{**small, **server, **fields})
    except Exception as caught:
        return type(caught).__name__


one = litellm.image_generation(**small, **server)
three = litellm.image_generation(**small, **server, n=3)
alias = {"model_name": "lockngen", "litellm_params": {"model": "openai/default", **server}}
routed = litellm.Router(model_list=[alias]).image_generation(prompt="a lighthouse", model="lockngen", size="64x64")
print(json.dumps({
    "images": [image.b64_json for made in (one, three, routed) for image in made.data],
    "bad key": error(api_key="sk-wrong"),
    "bad size": error(size="1x1"),
}))
"""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with litellm, which needs other versions of what is installed here."""
    folder = tmp_path_factory.mktemp("litellm")
    install = [sys.executable, "-m", "pip", "install", "-qq", "--target", folder, LITELLM]
    subprocess.run(install, check=True, timeout=500)
    return folder


@pytest.fixture
def run(packages, tmp_path):
    def run(code: str, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(packages), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_litellm__works_as_it_is(dev, run):
    shown = json.loads(run(CODE, f"http://127.0.0.1:{dev.port}/v1", dev.token).splitlines()[-1])

    assert [Image.open(BytesIO(b64decode(image))).size for image in shown["images"]] == [(64, 64)] * 5
    assert (shown["bad key"], shown["bad size"]) == ("AuthenticationError", "BadRequestError")


def test_example__writes_a_file(dev, run, tmp_path):
    run(snippet("litellm", "python", dev.port, dev.token))

    with Image.open(tmp_path / "lighthouse.png") as image:
        assert image.size == (768, 512)
