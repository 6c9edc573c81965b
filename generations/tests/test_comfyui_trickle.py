"""A worker ends in time while its servers send their responses a byte at a time."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from generations.models import Generation
from generations.tests.support.raw_server import RawServer
from lockngen.tests.support.processes import manage

GRACE = 0.5  # seconds
BYTE_EVERY = 3.0  # seconds


class Trickling(RawServer):
    """A ComfyUI whose responses to one kind of request never end. It accepts prompts and reports them as completed."""

    def __init__(self, trickles: str):
        self.trickles = trickles
        self.is_trickling = threading.Event()
        super().__init__()
        self.url = f"comfyui://{self.place}?concurrency=1"

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                head += piece
            method, path, *_ = [*head.decode("latin-1").split(" "), ""]
            if f"{method} {path}".startswith(self.trickles):
                self.is_trickling.set()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
                while not self._ended.wait(BYTE_EVERY):
                    connection.sendall(b" ")
            else:
                body = json.dumps(self._content(method, path)).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
                connection.sendall(body)

    def _content(self, method: str, path: str) -> dict:
        if (method, path) == ("POST", "/prompt"):
            return {"prompt_id": "a"}
        if path.startswith("/object_info/"):
            return {path.rpartition("/")[2]: {}}
        if path == "/history/a":
            return {"a": {"outputs": {"2": {"images": [{"filename": "a.png", "type": "output"}]}}}}
        return {}


@pytest.fixture
def servers():
    servers = [Trickling(call) for call in ("POST /prompt", "GET /history/", "GET /view", "GET /system_stats")]
    yield servers
    for server in servers:
        server.close()


@pytest.mark.django_db(transaction=True)
def test_worker__ends_in_time_while_responses_trickle(servers, key, tmp_path):
    for _ in servers:
        Generation.objects.submit(api_key=key, prompt="a lighthouse", width=64, height=64)
    urls = ",".join(server.url for server in servers)
    variables = {"RENDERER_URL": urls, "DEFAULT_WORKFLOW": "blank", "RENDER_GRACE": str(GRACE)}
    log = tmp_path / "log"

    with log.open("w") as output, manage("procrastinate", "worker", variables=variables, stderr=output) as worker:
        for server in servers:
            assert server.is_trickling.wait(20), f"{server.trickles}: {log.read_text()}"
        stopped_at = time.monotonic()
        worker.terminate()
        code = worker.wait(30)
        took = time.monotonic() - stopped_at

    assert code == 0, log.read_text()
    assert took < GRACE + 4
