"""One stack for all tests that heal what they broke; their long forms run with `-m faults`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.stack import MORTAL_WORKER, Client, Program, Stack
from lockngen.tests.support.waiting import wait_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.timeout(600 if item.get_closest_marker("faults") else 180))


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    with open_folder() as folder:
        stack = Stack(folder, WEBHOOK_ALLOWED_HOSTS="127.0.0.1")
        try:
            stack.start()
            yield stack
        finally:
            stack.close()


@pytest.fixture
def stack(shared_stack) -> Stack:
    """The stack, after whatever the last test did to it."""
    wait_until(lambda: shared_stack.client.get("/ht/").status == 200, 20, shared_stack.web.output)
    return shared_stack


@pytest.fixture
def client(stack) -> Iterator[Client]:
    with Client(stack) as client:
        yield client


@pytest.fixture
def run_workers(stack) -> Iterator:
    """Workers that a prompt can kill, instead of the stack's own."""
    started: list[Program] = []

    def run(count: int, **variables: str) -> list[Program]:
        started.extend(stack.run_workers(count, "mortal", MORTAL_WORKER, **variables))
        return started

    stack.worker.park()
    yield run
    stack.close_workers(started)
    stack.worker.resume()
