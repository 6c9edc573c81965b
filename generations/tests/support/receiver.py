"""A receiver of webhooks: a real HTTP server whose answers a test chooses."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from standardwebhooks import Webhook


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def is_signed_by(self, secret: str) -> bool:
        """Whether the signature is valid by the library that receivers use."""
        return Webhook(secret).verify(self.body, self.headers) == self.json


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Receiver"

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        with suppress(OSError):  # the client may have gone
            self.server.answer(Received(self.path, headers, body), self)

    def respond(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


Answer = int | Callable[[Handler], None]


class Receiver(ThreadingHTTPServer):
    """Gives the answers in turn, and the last one from then on: a status, or a function of the handler."""

    daemon_threads = True

    def __init__(self, *answers: Answer, host: str = "127.0.0.1"):
        super().__init__((host, 0), Handler)
        self.answers = list(answers) or [204]
        self.received: list[Received] = []
        self.open = self.most_open = 0
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=s3cret"

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.received]

    def answer(self, request: Received, handler: Handler) -> None:
        with self._lock:
            self.received.append(request)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            answer(handler) if callable(answer) else handler.respond(answer)
        finally:
            with self._lock:
                self.open -= 1

    def close(self) -> None:
        self.shutdown()
        self.server_close()


def redirect(location: str) -> Answer:
    return lambda handler: handler.respond(302, {"Location": location})


def retry_after(text: str, status: int = 503) -> Answer:
    return lambda handler: handler.respond(status, {"Retry-After": text})


def silence(seconds: float) -> Answer:
    """No answer for so long."""

    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        handler.respond(200)

    return answer


def trickle(head: bytes, seconds: float) -> Answer:
    """A head, then a byte every tenth of a second."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handler.wfile.write(b"a")
            time.sleep(0.1)

    return answer


def flood(megabytes: int) -> Answer:
    """A success with a body of this size. The handler's errors mean that the client has stopped reading."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(megabytes << 20))
        handler.end_headers()
        for sent in range(megabytes):
            handler.server.sent_megabytes = sent
            handler.wfile.write(b"a" * (1 << 20))

    return answer


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
    handler.connection.close()
