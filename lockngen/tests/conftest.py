"""Fixtures of tests that use LockN Gen from outside, in real processes."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lockngen.tests.support.databases import new_database
from lockngen.tests.support.dev import Dev, running_devs
from lockngen.tests.support.embedded_servers import open_folder
from lockngen.tests.support.processes import manage


@pytest.fixture(scope="module")
def dev_folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def make_dev(dev_folder):
    with running_devs(dev_folder) as make_dev:
        yield make_dev


@pytest.fixture(scope="module")
def dev(make_dev) -> Dev:
    """One run for all tests that leave it as it is."""
    return make_dev()


@pytest.fixture
def empty_database() -> Iterator[str]:
    with new_database() as url:
        yield url


@pytest.fixture
def start_migrate() -> Iterator:
    """Start `manage.py migrate`. It ends with the test at the latest."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as started:
        yield lambda *arguments, **variables: started.enter_context(
            manage("migrate", *arguments, variables=variables, **pipes)
        )
