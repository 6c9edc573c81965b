"""A web process whose waiting calls end soon, for the tests of one module."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lockngen.tests.support.processes import free_port
from lockngen.tests.support.web import Web

MAX_WAIT = 4  # seconds


@contextmanager
def quick_web(blocker, folder: Path, **variables: str) -> Iterator[Web]:
    """It stores its images in this folder."""
    variables = {"MEDIA_ROOT": str(folder), "DIALECT_MAX_WAIT": str(MAX_WAIT), **variables}
    with blocker.unblock():
        web = Web(
            free_port(), folder / "log", application="generations.tests.support.quick_asgi", workers=1, **variables
        )
    web.images = folder
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()
