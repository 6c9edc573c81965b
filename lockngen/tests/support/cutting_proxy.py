"""A proxy that breaks off the response to the first request."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.counts.append(self.headers["X-Stainless-Retry-Count"])
        is_first = len(self.server.counts) == 1
        with closing(HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)) as upstream:
            upstream.request("POST", self.path, body, dict(self.headers))
            if is_first and self.server.cuts_early:
                self.close_connection = True
                return
            answer = upstream.getresponse()
            content = answer.read()
        if is_first:
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Log nothing."""


@contextmanager
def cutting(upstream_port: int, *, early: bool) -> Iterator[ThreadingHTTPServer]:
    """`early` closes the connection before there is a response, otherwise once there is one.

    `counts` of the proxy are the retry counts that the client has sent.
    """
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.upstream_port, proxy.cuts_early, proxy.counts = upstream_port, early, []
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
