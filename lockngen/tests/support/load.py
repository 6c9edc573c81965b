"""Clients that post and read without pause, and log every attempt."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import count

from lockngen.tests.support.dev import URL
from lockngen.tests.support.stack import Answer, Client, Stack

PATIENCE = 2  # seconds for which a client polls its generation before it posts the next
NUMBERS = count()


@dataclass
class Attempt:
    prompt: str | None  # of a post
    path: str
    answer: Answer


@dataclass
class Load:
    """Clients that run during the `with` block."""

    stack: Stack
    clients: int
    attempts: list[Attempt] = field(default_factory=list)

    def __enter__(self) -> Load:
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        with Client(self.stack) as client:
            while not self.over.is_set():
                posted = self.post(client)
                if posted.outcome == "ok":
                    self._follow(client, posted.json["id"])

    def post(self, client: Client) -> Answer:
        prompt = f"prompt {next(NUMBERS)}"
        return self._log(prompt, URL, client.create(prompt))

    def _follow(self, client: Client, id: str) -> None:
        """Poll a generation until it is completed, for at most PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self.over.is_set():
            shown = self._log(None, f"{URL}/{id}", client.get(f"{URL}/{id}"))
            if shown.outcome == "ok" and shown.json["status"] == "completed":
                self._log(None, f"{URL}/{id}/image", client.get(f"{URL}/{id}/image"))
                return
            self._log(None, f"{URL}?limit=5", client.get(f"{URL}?limit=5"))

    def _log(self, prompt: str | None, path: str, answer: Answer) -> Answer:
        self.attempts.append(Attempt(prompt, path, answer))
        return answer

    def posts(self, outcome: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.prompt and attempt.answer.outcome == outcome]

    def seconds_to_first_post(self, since: float) -> float:
        """The seconds from `since` to the end of the first successful post."""
        ends = [attempt.answer.ended_at for attempt in self.posts("ok") if attempt.answer.ended_at > since]
        return min(ends, default=float("inf")) - since

    def wait_for_success(self, since: float, seconds: float) -> float:
        """The same, while the clients still run: wait for it, for at most `seconds`."""
        while self.seconds_to_first_post(since) > seconds and time.monotonic() < since + seconds:
            time.sleep(0.01)
        return self.seconds_to_first_post(since)
