"""One LockN Gen with two web processes and a worker for all client libraries and programs."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from generations.tests.support.certificates import make_certificate
from lockngen.database import embedded
from lockngen.tests.support.dev import Dev, running_devs
from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.keys import insert_key
from lockngen.tests.support.tls_proxy import terminate_tls

SECONDS = 0.3  # of a render, so that clients see it in progress


def size(image: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(image)).size


@pytest.fixture(scope="package")
def dev() -> Iterator[Dev]:
    with open_folder() as folder, running_devs(folder) as make_dev:
        yield make_dev(
            WEB_WORKERS="2",
            RENDERER_URL=f"sketch:?seconds={SECONDS}",
            WORKER_CONCURRENCY="2",
            RENDER_GRACE="0",
            WEBHOOK_ALLOWED_HOSTS="127.0.0.1",
        )


@pytest.fixture(scope="package")
def make_token(dev) -> Callable[[int], str]:
    """Make a key with this limit of calls a minute; 0 is none."""

    def make(rate_limit: int) -> str:
        with embedded.running(dev.data) as database:
            return insert_key(database, "Client", rate_limit)

    return make


@pytest.fixture(scope="package")
def token(make_token) -> str:
    return make_token(0)


@pytest.fixture
def paused_worker(dev) -> Iterator[list[psutil.Process]]:
    """The worker's processes, which don't run until they are resumed."""
    children = psutil.Process(dev.process.pid).children(recursive=True)
    workers = [process for process in children if "procrastinate" in process.cmdline()]
    assert workers
    for worker in workers:
        worker.suspend()
    yield workers
    for worker in workers:
        worker.resume()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="module")
def tls_address(dev, certificate) -> Iterator[str]:
    with terminate_tls(dev.port, certificate) as address:
        yield address
