"""Folders and servers that a test may damage."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import pytest

from lockngen.database.embedded import EmbeddedError, Server, programs
from lockngen.tests.support.embedded_servers import copy_migrated, open_folder


@pytest.fixture
def folder():
    with open_folder() as path:
        yield path


@pytest.fixture(scope="session")
def template():
    """A data folder with a cluster. Copying it is faster than initdb."""
    with open_folder() as path:
        copy_migrated(path / "data")
        yield path / "data"


@pytest.fixture
def make_server(folder, template):
    """A server on the test's copy of the template, or on the folder that the test names."""
    servers = []

    def make(data=None):
        if data is None and not (data := folder / "copy").exists():
            subprocess.run(["cp", "-a", template, data], check=True)
        servers.append(Server(data))
        return servers[-1]

    yield make
    for server in servers:
        with suppress(EmbeddedError):
            server.release()


@pytest.fixture(autouse=True)
def elsewhere(folder, monkeypatch):
    """Used instead of the folder under /var/lib. It doesn't exist yet."""
    monkeypatch.setattr(programs, "ELSEWHERE", folder / "elsewhere")
    return folder / "elsewhere"


@pytest.fixture
def sleeper(make_server):
    """Start a process of the server's user that has nothing to do with the server."""
    started = []

    def start(server):
        started.append(subprocess.Popen(["sleep", "60"], user=server.cluster.stat().st_uid))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
