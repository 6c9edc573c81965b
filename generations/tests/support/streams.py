import json
from collections.abc import Iterator
from contextlib import suppress


class Client:
    """Reads the response of an event stream event by event, without a web process."""

    def __init__(self, answer, loop):
        self.answer, self.loop = answer, loop
        self.source = answer.frames
        self.chunks = self.read()
        assert next(self.chunks) == b"retry: 2000\n\n"

    def read(self) -> Iterator[bytes]:
        with suppress(StopAsyncIteration):
            while True:
                yield self.loop.run_until_complete(anext(self.source))

    def close(self) -> None:
        self.loop.run_until_complete(self.source.aclose())
        self.answer.close()

    def next(self) -> tuple[str, dict]:
        fields = dict(line.split(": ", 1) for line in next(self.chunks).decode().strip().split("\n"))
        return fields["event"], json.loads(fields["data"])
