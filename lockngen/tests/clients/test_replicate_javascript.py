"""Replicate's JavaScript library, as it is, against a whole LockN Gen."""

import json
from base64 import b64decode
from collections.abc import Callable

import pytest

from lockngen.tests.clients.conftest import size
from lockngen.tests.support import node
from lockngen.tests.support.snippets import snippet

pytestmark = node.needs("replicate")


@pytest.fixture
def run_node(tmp_path) -> Callable[..., str]:
    return lambda code, *arguments: node.run(tmp_path, code, *arguments)


def test_example__writes_a_file(dev, token, run_node, tmp_path):
    run_node(snippet("Replicate", "js", dev.port, token))

    assert size((tmp_path / "lighthouse.png").read_bytes()) == (768, 512)


def test_client__works_as_it_is(dev, make_token, run_node):
    base_url = f"http://127.0.0.1:{dev.port}/replicate/v1"

    shown = json.loads(run_node((node.NODE / "replicate.mjs").read_text(), base_url, make_token(0), make_token(1)))

    assert [size(b64decode(file)) for file in shown.pop("files")] == [(64, 64)] * 6
    assert shown == {
        "events": [["output", "object"], ["done", "string"]],
        "listed": 7,
        "waited": ["succeeded", 1],
        "cancelled": "canceled",
        "versions": 1,
        "models": ["sketch"],
        "account": "Client",
        "webhook": [True, "succeeded"],
        "refused": 401,
        "invalid": 422,
        "limited": 429,
    }


def test_output__is_fetched_with_tls(token, tls_address, certificate, run_node, monkeypatch):
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(certificate))
    code = """
        import Replicate from "replicate";
        const [baseUrl, auth] = process.argv.slice(2);
        const input = { prompt: "a lighthouse", width: 64, height: 64 };
        const [file] = await new Replicate({ auth, baseUrl }).run("lockngen/sketch", { input });
        const image = Buffer.from(await (await file.blob()).arrayBuffer());
        console.log(JSON.stringify([file.url().href, image.toString("base64")]));
    """

    url, image = json.loads(run_node(code, f"{tls_address}/replicate/v1", token))

    assert url.startswith(f"{tls_address}/api/v1/generations/")
    assert size(b64decode(image)) == (64, 64)
