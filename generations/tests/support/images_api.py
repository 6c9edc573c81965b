"""A server with OpenAI's images API and without a model, on threads of the tests' process."""

import base64
import json
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from PIL import Image

TAKEN = {"model", "prompt", "n", "size", "response_format"}


class ImagesApi:
    """Its attributes are its faults, by default none. `calls` are the requests that it received."""

    def __init__(self):
        self.models: list[str] | None = ["black-forest-labs/FLUX.1-schnell"]  # None: it has no list
        self.key = ""  # the header Authorization that it requires
        self.list_status = 200
        self.refuses = ""  # "one": names one unknown field at a time, as OpenAI does; "all": all, as FastAPI does
        self.takes = TAKEN  # the fields that it has
        self.answers: list[tuple[int, dict[str, str], Any]] = []  # for the next requests of an image
        self.image = "png"  # or jpeg, gif, garbage, cut
        self.delivery = "b64_json"  # or data, own, relative, or a URL
        self.is_cut = False  # it closes the connection instead of answering
        self.is_held = False  # it answers only once `may_end` is set
        self.begun, self.may_end, self.was_left = threading.Event(), threading.Event(), threading.Event()
        self.calls: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"api": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"openai://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.may_end.set()
        self._server.shutdown()
        self._server.server_close()

    def called(self, path: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if call["path"] == path]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Of the requests of an image."""
        return [call["body"] for call in self.calls if call["method"] == "POST"]

    def render(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of the answer."""
        if self.answers:
            return self.answers.pop(0)
        if unknown := [name for name in body if name not in self.takes] if self.refuses else []:
            return self._refusal(unknown)
        image = make_image(self.image, body)
        encoded = base64.b64encode(image).decode()
        item = {
            "b64_json": {"b64_json": encoded, "url": None},
            "data": {"url": f"data:image/png;base64,{encoded}"},
            "own": {"url": f"http://127.0.0.1:{self.port}/images/1.png"},
            "relative": {"url": "/images/1.png"},
        }.get(self.delivery, {"url": self.delivery})
        return 200, {}, {"created": 1, "data": [item]}

    def _refusal(self, unknown: list[str]) -> tuple[int, dict[str, str], Any]:
        if self.refuses == "one":
            message = f"Unknown parameter: '{unknown[0]}'."
            error = {"message": message, "type": "invalid_request_error", "param": unknown[0]}
            return 400, {}, {"error": error | {"code": "unknown_parameter"}}
        message = "Extra inputs are not permitted"
        detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": message} for name in unknown]
        return 422, {}, {"detail": detail}


class Handler(BaseHTTPRequestHandler):
    api: ImagesApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.record(None)
        if self.path.endswith("/v1/models"):
            if self.api.models is None:
                self.answer(404, {}, {"detail": "Not Found"})
            else:
                models = [{"id": id, "object": "model"} for id in self.api.models]
                self.answer(self.api.list_status, {}, {"object": "list", "data": models})
        elif self.path == "/images/1.png":
            self.answer(200, {"Content-Type": "image/png"}, make_image(self.api.image, {"size": "64x64"}))
        else:
            self.answer(404, {}, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.record(body)
        self.api.begun.set()
        if self.api.is_held:
            self.wait()
        if self.api.is_cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif not self.api.was_left.is_set():
            self.answer(*self.api.render(body))

    def wait(self) -> None:
        while not self.api.may_end.wait(0.02):
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                self.api.was_left.set()
                self.close_connection = True
                return

    def record(self, body: Any) -> None:
        self.api.calls.append(
            {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers.items())}
        )

    def answer(self, status: int, headers: dict[str, str], content: Any) -> None:
        if self.api.key and self.headers.get("Authorization") != self.api.key:
            status, headers, content = 401, {}, {"error": {"message": "Incorrect API key provided: sk-secret."}}
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


def make_image(kind: str, body: dict[str, Any]) -> bytes:
    """An image of the requested size, whose colour is the seed."""
    if kind == "garbage":
        return b"<html>no image</html>"
    width, height = map(int, body["size"].split("x"))
    file = BytesIO()
    Image.new("RGB", (width, height), f"#{body.get('seed', 0) % 2**24:06x}").save(
        file, kind if kind in ("jpeg", "gif") else "png"
    )
    return file.getvalue()[:-30] if kind == "cut" else file.getvalue()
