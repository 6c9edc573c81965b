"""Polling of what other processes and threads do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], seconds: float = 20, explain: Callable[[], str] = str, pause: float = 0.02
) -> T:
    """Wait until the condition holds, and return its value; after the time the test fails with the explanation."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, explain()
        time.sleep(pause)
    return value
