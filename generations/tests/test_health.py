"""`/ht/workers` with figures: the states of the renderers."""

import json
import socket
import time

import pytest

from generations import monitoring
from generations.renderers import pool
from lockngen.tests.support.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)  # checks run in threads of their own


def figures(client) -> dict:
    return json.loads(client.get("/ht/workers?format=json").content).get("figures", {}).get("workers", {})


def test_workers__give_the_reason_why_a_renderer_is_down(client, settings):
    settings.DEBUG = True
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{free_port()}", "sketch:"]

    found = figures(client)["renderers"]

    assert [renderer["state"] for renderer in found] == ["down", "ok"]
    assert found[0]["reason"] == "it refuses the connection: no process listens at its port"
    assert found == monitoring.gather()["renderers"]


def test_workers__do_not_wait_for_a_silent_renderer(client, settings, monkeypatch):
    monkeypatch.setattr(pool.RendererPool.states, "__defaults__", (0.1,))
    settings.DEBUG = True
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.RENDERER_URL = [f"comfyui://127.0.0.1:{server.getsockname()[1]}"]
        started_at = time.monotonic()

        (found,) = figures(client)["renderers"]

        assert found["state"] == "no answer"
        assert time.monotonic() - started_at < 3


def test_workers__show_no_renderers_to_everybody(client, settings):
    settings.RENDERER_URL = [f"comfyui://127.0.0.1:{free_port()}"]

    assert figures(client) == {}
