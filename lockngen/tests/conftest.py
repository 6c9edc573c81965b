"""Fixtures of tests that use LockN Gen from outside, in real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lockngen.tests.support.databases import new_database
from lockngen.tests.support.dev import Dev
from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.processes import free_port
from lockngen.tests.support.web import Web


@pytest.fixture(scope="module")
def dev_folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def make_dev(dev_folder):
    runs = []

    def make(**variables: str) -> Dev:
        folder = dev_folder / str(len(runs))
        folder.mkdir()
        runs.append(Dev(folder / "data", **variables))
        return runs[-1]

    yield make
    running = [run for run in runs if run.is_running()]
    for run in running:
        run.process.terminate()
    for run in running:
        run.wait()


@pytest.fixture(scope="module")
def dev(make_dev) -> Dev:
    """One run for all tests that leave it as it is."""
    return make_dev()


@pytest.fixture
def empty_database() -> Iterator[str]:
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def web(django_db_setup, django_db_blocker, tmp_path_factory):
    """A real web of one process on the tests' database, for the tests of one module."""
    with django_db_blocker.unblock():
        web = Web(free_port(), tmp_path_factory.mktemp("web") / "log", workers=1)
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()
