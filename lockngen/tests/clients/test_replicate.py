"""Replicate's Python libraries, as they are, against a whole LockN Gen."""

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO

import pytest
import replicate
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ReplicateError
from uuid_utils.compat import uuid7

from generations.tests.support.receiver import Receiver
from lockngen.environment import BASE_DIR
from lockngen.tests.clients.conftest import SECONDS, size
from lockngen.tests.support.snippets import snippet
from lockngen.tests.support.waiting import wait_until

MODEL = "lockngen/sketch"
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64}
SEVERAL = {**SMALL, "num_outputs": 10}  # rendered two at a time, in more than the shortest wait
VERSION_2 = BASE_DIR / "lockngen/tests/support/replicate_2.py"
COPY = """
    INSERT INTO generations_generation (id, api_key_id, prompt, status, completed_at)
    SELECT copy, api_key_id, prompt, status, completed_at
    FROM generations_generation, unnest(%(copies)s::uuid[]) copy WHERE id = %(id)s
"""
PRERELEASE = ["replicate==2.0.0b4", "distro==1.9.0", "sniffio==1.3.1"]  # beside the packages of these tests


@pytest.fixture(scope="module")
def client_of(dev) -> Iterator[Callable[..., Client]]:
    """Make a client of a token. It closes no connection itself."""
    with ExitStack() as clients:

        def make(token: str, base: str = "/replicate") -> Client:
            client = Client(token, base_url=f"http://127.0.0.1:{dev.port}{base}")
            clients.callback(client._client.close)
            return client

        yield make


@pytest.fixture(scope="module")
def client(client_of, token) -> Client:
    return client_of(token)


def test_run__returns_files(client):
    outputs = client.run(MODEL, input={**SMALL, "num_outputs": 2, "seed": 1})

    images = [output.read() for output in outputs]
    assert [size(image) for image in images] == [(64, 64)] * 2
    assert images[0] != images[1]


def test_run__of_a_version_returns_files(client):
    version = client.models.get(MODEL).latest_version

    (output,) = client.run(f"{MODEL}:{version.id}", input={**SMALL, "output_format": "jpg"})

    assert Image.open(BytesIO(output.read())).format == "JPEG"


def test_run__whose_wait_runs_out_returns_files(client):
    started_at = time.monotonic()

    outputs = client.run(MODEL, input=SEVERAL, wait=1)

    assert time.monotonic() - started_at > 1
    assert [size(output.read()) for output in outputs] == [(64, 64)] * 10


def test_run__of_the_asynchronous_client_returns_files(client):
    async def run() -> bytes:
        (output,) = await client.async_run(MODEL, input=SMALL)
        image = await output.aread()
        await client._async_client.aclose()
        return image

    assert size(asyncio.run(run())) == (64, 64)


def test_create__waits_only_if_requested(client):
    at_once = client.predictions.create(version=MODEL, input=SMALL)
    too_short = client.predictions.create(version=MODEL, input=SEVERAL, wait=1)
    waited = client.predictions.create(version=MODEL, input=SMALL, wait=30)

    assert (at_once.status, waited.status) == ("starting", "succeeded")
    assert too_short.status in ("starting", "processing")
    at_once.wait()
    assert (at_once.status, at_once.progress.percentage) == ("succeeded", 1)
    assert at_once.metrics["predict_time"] >= SECONDS
    assert size(b64decode(at_once.output[0].partition(",")[2])) == (64, 64)


def test_rendering_prediction__is_processing(client):
    prediction = client.predictions.create(version=MODEL, input=SMALL)
    statuses = []

    while prediction.status not in ("succeeded", "failed"):
        prediction.reload()
        statuses.append(prediction.status)
        time.sleep(0.05)

    assert "processing" in statuses


def test_cancel__ends_a_prediction(client, paused_worker):
    prediction = client.predictions.create(version=MODEL, input={**SMALL, "num_outputs": 3})

    prediction.cancel()

    assert prediction.status == client.predictions.get(prediction.id).status == "canceled"
    assert prediction.output is None


def test_stream__has_progress_then_the_files(client):
    prediction = client.predictions.create(version=MODEL, input={**SMALL, "num_outputs": 2})

    events = list(prediction.stream())

    kinds = [event.event.value for event in events]
    assert kinds[0] == "logs"
    assert [kind for kind in kinds if kind != "logs"] == ["output", "output", "done"]
    assert [size(event.data.read()) for event in events if event.event.value == "output"] == [(64, 64)] * 2
    assert events[-1].data == "{}"


def test_stream__of_a_cancelled_prediction_ends(client, paused_worker):
    prediction = client.predictions.create(version=MODEL, input=SMALL)
    prediction.cancel()

    (done,) = prediction.stream()

    assert (done.event.value, json.loads(done.data)) == ("done", {"reason": "canceled"})


def test_webhooks__are_sent_and_verified(client):
    receiver = Receiver()
    prediction = client.predictions.create(version=MODEL, input=SMALL, webhook=receiver.url)

    received = wait_until(lambda: len(receiver.received) == 2 and receiver.received)
    receiver.close()
    secret = client.webhooks.default.secret()

    for each in received:
        client.webhooks.validate(headers=each.headers, body=each.body.decode(), secret=secret)
        assert (each.json["id"], each.json["status"]) == (prediction.id, "succeeded")


def test_webhook__of_the_end_is_sent_once_for_several_outputs(client, dev):
    receiver = Receiver()
    options = {"webhook": receiver.url, "webhook_events_filter": ["completed"]}
    before = dev.count("generations_webhookdelivery WHERE state = 1")

    client.run(MODEL, input={**SMALL, "num_outputs": 3}, **options)

    wait_until(lambda: dev.count("generations_webhookdelivery WHERE state = 1") == before + 3)
    receiver.close()
    (received,) = receiver.received
    assert (received.json["status"], len(received.json["output"])) == ("succeeded", 3)


def test_list__is_paginated(client_of, make_token, dev, paused_worker):
    client = client_of(make_token(0))
    prediction = client.predictions.create(version=MODEL, input=SMALL)
    prediction.cancel()
    made = [prediction.id, *(str(uuid7()) for _ in range(100))]
    dev.execute(COPY, id=prediction.id, copies=made[1:])

    pages = list(replicate.pagination.paginate(client.predictions.list))

    assert [len(page) for page in pages] == [100, 1]
    assert [prediction.id for page in pages for prediction in page] == made[::-1]
    assert [prediction.id for prediction in client.predictions.list(pages[1].previous)] == made[:0:-1]


def test_models__are_listed_and_shown(client):
    model = client.models.get(MODEL)

    assert [each.id for each in client.models.list()] == [model.id] == [MODEL]
    assert [version.id for version in model.versions.list()] == [model.latest_version.id]
    assert model.versions.get(model.latest_version.id) == model.latest_version
    assert "prompt" in model.latest_version.openapi_schema["components"]["schemas"]["Input"]["properties"]


def test_account__is_the_key(client):
    assert client.accounts.current().name == "Client"


def test_wrong_key__is_an_error(client_of):
    with pytest.raises(ReplicateError) as caught:
        client_of("r8_0123456789").run(MODEL, input=SMALL)

    assert (caught.value.status, caught.value.title) == (401, "Unauthenticated")


def test_invalid_input__is_an_error(client):
    with pytest.raises(ReplicateError, match=r"input\.width"):
        client.run(MODEL, input={**SMALL, "width": 1})


def test_limit__is_an_error_for_a_create_and_retried_for_a_read(client_of, make_token):
    client = client_of(make_token(30))
    for _ in range(30):
        client.accounts.current()

    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(version=MODEL, input=SMALL)
    started_at = time.monotonic()
    client.accounts.current()

    assert caught.value.status == 429
    assert time.monotonic() - started_at > 0.5


@pytest.mark.parametrize("base", ["", "/v1", "/replicate", "/replicate/v1"])
def test_base_url__may_contain_a_version(client_of, token, base):
    assert client_of(token, base).models.get(MODEL).name == "sketch"


def test_failed_prediction__is_an_error(client, dev, paused_worker):
    prediction = client.predictions.create(version=MODEL, input=SMALL)
    dev.execute(
        "UPDATE generations_generation SET status = 3, error_message = 'too dark', completed_at = now()"
        " WHERE id = %(id)s",
        id=prediction.id,
    )

    prediction.wait()

    assert (prediction.status, prediction.error, prediction.output) == ("failed", "too dark", None)
    with pytest.raises(RuntimeError, match="too dark"):
        list(prediction.stream())


def test_output__is_fetched_with_tls(token, tls_address, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = Client(token, base_url=f"{tls_address}/replicate")

    (output,) = client.run(MODEL, input=SMALL)
    image = output.read()
    client._client.close()

    assert output.url.startswith(f"{tls_address}/api/v1/generations/")
    assert size(image) == (64, 64)


def test_python_example__writes_a_file(dev, token, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {}

    exec(snippet("Replicate", "python", dev.port, token), values)
    values["client"]._client.close()

    assert size((tmp_path / "lighthouse.png").read_bytes()) == (768, 512)


@pytest.mark.faults
def test_prerelease__works_as_it_is(dev, make_token, tmp_path):
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path, *PRERELEASE]
    subprocess.run(install, check=True, timeout=60)
    base_url = f"http://127.0.0.1:{dev.port}/replicate/v1"
    variables = {"PYTHONPATH": str(tmp_path), "REPLICATE_BASE_URL": base_url, "REPLICATE_API_TOKEN": make_token(0)}
    arguments = [sys.executable, "-P", VERSION_2, variables["REPLICATE_API_TOKEN"], make_token(1)]

    done = subprocess.run(
        arguments, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, timeout=90
    )

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [size(b64decode(file)) for file in shown.pop("files")] == [(64, 64)] * 5
    assert shown == {
        "used": ["str"],
        "waited": "succeeded",
        "cancelled": "canceled",
        "listed": 7,
        "listed since": 2,
        "models": ["sketch"],
        "account": "Client",
        "refused": 401,
        "invalid": 422,
        "limited": 429,
    }
