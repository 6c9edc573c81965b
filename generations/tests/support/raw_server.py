"""A server that sends given bytes to every request, whatever it is."""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress


class RawServer:
    def __init__(self, pieces: Sequence[bytes] = (), pause: float = 0):
        """Send the pieces, with a pause of some seconds after each."""
        self._pieces, self._pause, self._ended = pieces, pause, threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in self._pieces:
                connection.sendall(piece)
                if self._ended.wait(self._pause):
                    return
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):  # closing with unread bytes would reset the connection
                pass


def answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> list[bytes]:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode() + body]
