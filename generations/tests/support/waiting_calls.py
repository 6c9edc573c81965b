"""Calls of a web, each in a thread of its own, as they may wait for their images."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse

QUICK_WEB = {"application": "generations.tests.support.quick_asgi", "DIALECT_MAX_WAIT": "4"}  # waits end soon


class WaitingCall:
    """Sends a request. Its body is a text, or is sent as JSON."""

    threads = ThreadPoolExecutor(20)

    def __init__(self, web, method: str, path: str, body=None, **headers: str):
        self.connection = HTTPConnection("127.0.0.1", web.port, timeout=30)
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection.request(method, path, text, headers)
        self._future = self.threads.submit(self._read)

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def result(self) -> HTTPResponse:
        """The response, with its body and, if that is JSON, its content."""
        return self._future.result(30)

    def _read(self) -> HTTPResponse:
        with closing(self.connection):
            answer = self.connection.getresponse()
            answer.body = answer.read()
            is_json = answer.body and answer.headers["Content-Type"].startswith("application/json")
            answer.content = json.loads(answer.body) if is_json else None
            return answer
