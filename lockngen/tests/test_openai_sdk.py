"""OpenAI's own SDKs against a whole LockN Gen: two web processes and a worker."""

from base64 import b64decode
from io import BytesIO

import httpx
import openai
import pytest
from PIL import Image

from lockngen.tests.support.dev import Dev

SMALL = {"size": "64x64", "model": "sketch"}


@pytest.fixture(scope="module")
def dev(make_dev) -> Dev:
    return make_dev(WEB_WORKERS="2")


@pytest.fixture
def client(dev) -> openai.OpenAI:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{dev.port}/v1", api_key=dev.token, timeout=60) as client:
        yield client


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))


def test_generate__returns_an_image_as_base64(client):
    made = client.images.generate(prompt="a lighthouse", **SMALL)

    image = opened(b64decode(made.data[0].b64_json))
    assert (image.size, image.format.lower()) == ((64, 64), made.output_format)
    assert (made.size, made.usage, made.data[0].url) == ("64x64", None, None)


def test_generate__returns_three_urls_that_need_no_key(client):
    made = client.images.generate(prompt="a lighthouse", n=3, response_format="url", **SMALL)

    images = [httpx.get(image.url) for image in made.data]
    assert {opened(image.content).size for image in images} == {(64, 64)}
    assert len({image.headers["ETag"] for image in images}) == 3


def test_stream__has_the_completed_images(client):
    with client.images.generate(prompt="a lighthouse", n=2, stream=True, partial_images=2, **SMALL) as stream:
        events = list(stream)

    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert [opened(b64decode(event.b64_json)).size for event in events] == [(64, 64)] * 2
    assert (events[0].size, events[0].output_format, events[0].background) == ("64x64", "png", "auto")


def test_models__can_be_listed_and_shown(client):
    names = [model.id for model in client.models.list()]

    assert names[:2] == ["sketch", "default"]
    assert {"dall-e-2", "dall-e-3", "gpt-image-1"} < set(names)
    assert client.models.retrieve("dall-e-3").owned_by == "lockngen"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("sd-99")
    assert refused.value.code == "model_not_found"


def test_bad_key__is_refused(client):
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").images.generate(prompt="a lighthouse")

    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id.startswith("req_")


def test_invalid_size__is_named(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="a lighthouse", size="100x100")

    assert (refused.value.param, refused.value.type) == ("size", "invalid_request_error")
    assert "WIDTHxHEIGHT" in refused.value.message
