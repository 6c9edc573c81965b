"""open-webui itself makes images with LockN Gen, by both of its engines that LockN Gen serves.

Optional, as open-webui has 260 dependencies: OPEN_WEBUI is the path of its program, which is installed in an
environment of its own. PyTorch isn't needed:

    python3 -m venv /tmp/open-webui && /tmp/open-webui/bin/pip install open-webui==0.12.4
    OPEN_WEBUI=/tmp/open-webui/bin/open-webui .venv/bin/python -m pytest -n 0 lockngen/tests/clients/test_open_webui.py
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

import httpx
import pytest
from PIL import Image

from lockngen.tests.support.dev import Dev
from lockngen.tests.support.processes import Process, free_port

PROGRAM = os.environ.get("OPEN_WEBUI", "")
pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="OPEN_WEBUI names no program"),
    pytest.mark.timeout(600),
]
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "test",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "openai",
    "ENABLE_OLLAMA_API": "False",
    "ENABLE_OPENAI_API": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "ENABLE_IMAGE_GENERATION": "True",
    "IMAGE_GENERATION_ENGINE": "automatic1111",
    "IMAGE_SIZE": "64x64",
    "IMAGE_STEPS": "5",
}


@pytest.fixture(scope="module")
def open_webui(dev: Dev, tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of an open-webui that is set up by environment variables as docs/clients.md shows."""
    folder, port = tmp_path_factory.mktemp("open-webui"), free_port()
    addresses = {
        "AUTOMATIC1111_BASE_URL": f"http://127.0.0.1:{dev.port}",
        "AUTOMATIC1111_API_AUTH": f"user:{dev.token}",
        "DATA_DIR": str(folder),
        "HOME": str(folder),
    }
    command = [PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = Process(command, folder / "log", {**ENVIRONMENT, **addresses})
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    try:
        process.wait_until(lambda: is_ready(client), seconds=300)
        signed_in = client.post("/api/v1/auths/signin", json={"email": "", "password": ""}).raise_for_status().json()
        client.headers["Authorization"] = f"Bearer {signed_in['token']}"
        yield client
    finally:
        client.close()
        process.stop()


def is_ready(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/health").is_success
    return False


def make_images(open_webui: httpx.Client, **fields) -> list[Image.Image]:
    made = open_webui.post("/api/v1/images/generations", json={"prompt": "a lighthouse", **fields})
    assert made.is_success, made.text
    contents = [open_webui.get(image["url"]).raise_for_status().content for image in made.json()]
    return [Image.open(BytesIO(content)) for content in contents]


def configure(open_webui: httpx.Client, **fields: str) -> None:
    config = open_webui.get("/api/v1/images/config").raise_for_status().json()
    open_webui.post("/api/v1/images/config/update", json={**config, **fields}).raise_for_status()


def test_automatic1111__is_verified_and_its_models_are_listed(open_webui, dev):
    connection = {"engine": "automatic1111", "url": f"http://127.0.0.1:{dev.port}", "key": f"user:{dev.token}"}

    assert open_webui.post("/api/v1/images/verify", json=connection).is_success
    assert not open_webui.post("/api/v1/images/verify", json={**connection, "key": "user:wrong"}).is_success
    assert open_webui.get("/api/v1/images/models").json() == [{"id": "sketch", "name": "sketch"}]


@pytest.mark.parametrize("model", ["sketch", ""])
def test_automatic1111__makes_images(open_webui, dev, model):
    configure(open_webui, IMAGE_GENERATION_MODEL=model)

    images = make_images(open_webui, n=2, negative_prompt="fog", steps=7)

    assert [(image.size, image.format) for image in images] == [((64, 64), "PNG")] * 2
    assert images[0].info["parameters"].startswith("a lighthouse\nNegative prompt: fog\nSteps: 7, ")
    assert {(each["steps"], each["labels"]["interface"]) for each in dev.newest()[:2]} == {(7, "automatic1111")}


def test_openai__makes_images(open_webui, dev):
    configure(
        open_webui,
        IMAGE_GENERATION_ENGINE="openai",
        IMAGE_GENERATION_MODEL="dall-e-2",
        IMAGES_OPENAI_API_BASE_URL=f"http://127.0.0.1:{dev.port}/v1",
        IMAGES_OPENAI_API_KEY=dev.token,
    )

    images = make_images(open_webui, n=2)

    assert [image.size for image in images] == [(64, 64)] * 2
    assert [(each["prompt"], each["labels"]) for each in dev.newest()[:2]] == [("a lighthouse", {})] * 2
