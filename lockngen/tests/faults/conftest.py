"""One stack for all tests that heal what they broke; their long forms run with `-m faults`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.stack import MORTAL_WORKER, Client, Program, Stack
from lockngen.tests.support.waiting import wait_until

FAST = "sketch:"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.timeout(600 if item.get_closest_marker("faults") else 180))


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    with open_folder() as folder:
        stack = Stack(folder, WEBHOOK_ALLOWED_HOSTS="127.0.0.1", RENDERER_URL=FAST)
        try:
            stack.start()
            yield stack
        finally:
            stack.close()


@pytest.fixture
def stack(request, shared_stack) -> Stack:
    """The stack, after whatever the last test did to it. Its worker has the module's RENDERER_URL."""
    shared_stack.worker.restart_with(RENDERER_URL=getattr(request.module, "RENDERER_URL", FAST))
    wait_until(lambda: shared_stack.client.get("/ht/").status == 200, 20, shared_stack.web.output)
    return shared_stack


@pytest.fixture
def client(stack) -> Iterator[Client]:
    with Client(stack) as client:
        yield client


@pytest.fixture(scope="module")
def parked_worker(shared_stack) -> Iterator[Program]:
    shared_stack.worker.park()
    yield shared_stack.worker
    shared_stack.worker.resume()


@pytest.fixture
def run_workers(stack, parked_worker) -> Iterator:
    """Workers that a prompt can kill, instead of the stack's own."""
    started: list[Program] = []

    def run(count: int, **variables: str) -> list[Program]:
        started.extend(stack.run_workers(count, "mortal", MORTAL_WORKER, **variables))
        return started

    yield run
    stack.close_workers(started)
