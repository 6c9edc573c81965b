"""OpenAI's own SDKs against a whole LockN Gen."""

import json
import logging
import re
import subprocess
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import BytesIO
from statistics import quantiles

import httpx
import openai
import pytest
from PIL import Image

from lockngen.environment import BASE_DIR
from lockngen.tests.support import node
from lockngen.tests.support.cutting_proxy import cutting
from lockngen.tests.support.dev import URL
from lockngen.tests.support.snippets import snippet

SMALL = {"size": "64x64", "model": "sketch"}
BLOCKED = 20  # calls
JAVASCRIPT = """
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const small = { prompt: "a lighthouse", size: "64x64", model: "gpt-image-1" };
const error = ({ status, code, param, requestID }) => [status, code, param, requestID.slice(0, 4)];

const one = await client.images.generate(small);
const three = await client.images.generate({ ...small, n: 3, response_format: "url" });
const fetched = await Promise.all(three.data.map(async ({ url }) => (await fetch(url)).status));
const events = [];
for await (const event of await client.images.generate({ ...small, stream: true, partial_images: 1 }))
  events.push([event.type, event.b64_json.slice(0, 5)]);
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const refused = await new OpenAI({ baseURL, apiKey: "sk-wrong" }).images.generate(small).catch(error);
const invalid = await client.images.generate({ ...small, size: "1x1" }).catch(error);
console.log(JSON.stringify({ one: one.data[0].b64_json.slice(0, 5), fetched, events, models, refused, invalid }));
"""


@pytest.fixture(scope="module")
def base_url(dev) -> str:
    return f"http://127.0.0.1:{dev.port}/v1"


@pytest.fixture
def client(base_url, token) -> openai.OpenAI:
    with openai.OpenAI(base_url=base_url, api_key=token, timeout=60) as client:
        yield client


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))


def test_generate__returns_an_image_as_base64(client):
    made = client.images.generate(prompt="a lighthouse", **SMALL)

    image = opened(b64decode(made.data[0].b64_json))
    assert (image.size, image.format.lower()) == ((64, 64), made.output_format)
    assert (made.size, made.usage, made.data[0].url) == ("64x64", None, None)


def test_generate__takes_what_openai_does_not_have(client, dev):
    extra = {"seed": 7, "steps": 3, "cfg": 2.5, "negative_prompt": "a dog", "width": 64, "height": 128}
    made = client.images.generate(
        prompt="a lighthouse", model="dall-e-3", quality="hd", style="vivid", output_format="webp", extra_body=extra
    )

    image = opened(b64decode(made.data[0].b64_json))
    assert (image.size, image.format, made.size, made.output_format) == ((64, 128), "WEBP", "64x128", "webp")


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


def test_used_up_limit__is_retried_by_the_sdk(client, make_token, caplog):
    client = client.with_options(api_key=make_token(60))
    caplog.set_level(logging.DEBUG, "openai")

    for _ in range(600):  # on a busy machine the limit is refilled while calls use it up
        client.models.list()
        if "429 Too Many Requests" in caplog.text:
            break

    assert "429 Too Many Requests" in caplog.text
    assert "Retrying request" in caplog.text


@pytest.mark.parametrize("early", [True, False], ids=["before the response", "once there is one"])
def test_call_that_breaks_off__is_retried_without_a_second_generation(dev, base_url, client, token, early):
    prompt = f"a lighthouse {early}"
    with cutting(dev.port, early=early) as proxy:
        base_url = f"http://127.0.0.1:{proxy.server_port}/v1"
        made = client.with_options(base_url=base_url).images.generate(prompt=prompt, **SMALL)

        assert proxy.counts == ["0", "1"]
    assert len(made.data) == 1
    headers = {"Authorization": f"Bearer {token}"}
    listed = httpx.get(f"http://127.0.0.1:{dev.port}{URL}", headers=headers).json()["items"]
    assert [row["status"] for row in listed if row["prompt"] == prompt] == ["completed"]


def seconds_of_gets(port: int, token: str, count: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    seconds = []
    for _ in range(count):
        started_at = time.perf_counter()
        connection.request("GET", f"{URL}?limit=1", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        seconds.append(time.perf_counter() - started_at)
    connection.close()
    return seconds


def test_blocked_calls__delay_no_other(dev, client, token, paused_worker):
    with ThreadPoolExecutor(BLOCKED) as threads:
        calls = [threads.submit(client.images.generate, prompt="a lighthouse", **SMALL) for _ in range(BLOCKED)]
        rounds = (quantiles(seconds_of_gets(dev.port, token, 100), n=100)[98] for _ in range(3))
        assert any(p99 < 0.1 for p99 in rounds)  # other programs may disturb one of them
        assert not any(call.done() for call in calls)
        for process in paused_worker:
            process.resume()
        assert {len(call.result().data) for call in calls} == {1}


@node.needs("openai")
def test_javascript_sdk__works_as_it_is(base_url, token, tmp_path):
    shown = json.loads(node.run(tmp_path, JAVASCRIPT, base_url, token))

    assert shown["models"][:2] == ["sketch", "default"]
    assert {name: shown[name] for name in shown if name != "models"} == {
        "one": "iVBOR",
        "fetched": [200, 200, 200],
        "events": [["image_generation.completed", "iVBOR"]],
        "refused": [401, "invalid_api_key", None, "req_"],
        "invalid": [400, None, "size", "req_"],
    }


def size(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_curl_example__writes_files(dev, token, tmp_path):
    code = snippet("curl", "sh", dev.port, token)

    subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=tmp_path, check=True, timeout=60)

    assert {path.name: size(path) for path in tmp_path.glob("*.png")} == {
        "lighthouse.png": (768, 512),
        "lighthouse-2.png": (768, 512),
    }


def test_python_example__writes_a_file(dev, token, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {}

    exec(snippet("OpenAI", "python", dev.port, token), values)
    values["client"].close()

    assert size(tmp_path / "lighthouse.png") == (768, 512)


def test_readme_example__makes_an_image(dev):
    code = re.search(r"^```python\n(.*?)^```", (BASE_DIR / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    values = {}

    exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{dev.port}"), values)
    values["client"].close()

    assert opened(b64decode(values["image"])).size == (1024, 576)


@node.needs("openai")
def test_javascript_example__writes_a_file(dev, token, tmp_path):
    node.run(tmp_path, snippet("OpenAI", "js", dev.port, token))

    assert size(tmp_path / "lighthouse.png") == (768, 512)
