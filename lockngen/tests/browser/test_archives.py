"""A zip of the studio, downloaded by clients that stop reading or go away."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from zipfile import ZipFile

import httpx
import psutil
import pytest
from django.conf import settings

from lockngen.tests.support.waiting import wait_until

ZIP = "/studio/selection/images.zip"
LIMIT = 20  # WEB_DOWNLOADS_PER_KEY
SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)]  # so that unread content stays in the server
IDS = """
    SELECT string_agg(generation.id::text, ',') FROM generations_generation AS generation
    JOIN apikeys_apikey AS key ON key.id = api_key_id WHERE key.prefix = %(prefix)s
"""
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


@pytest.fixture
def client(service) -> Iterator[httpx.Client]:
    """A client with a session of the studio."""
    transport = httpx.HTTPTransport(socket_options=SMALL_BUFFER)
    with httpx.Client(base_url=service.origin, transport=transport, timeout=30) as client:
        client.get("/")
        csrf = client.cookies[settings.CSRF_COOKIE_NAME]
        client.headers["X-CSRFToken"] = csrf
        assert client.post("/studio/sign-in", data={"token": service.token}).headers["Location"] == "/"
        client.headers["X-CSRFToken"] = client.cookies[settings.CSRF_COOKIE_NAME]
        yield client


def usage(service) -> dict[str, int]:
    (process,) = psutil.Process(service.web.process.pid).children()
    return {"threads": process.num_threads(), "connections": service.value(CONNECTIONS), "files": process.num_fds()}


@pytest.mark.faults
def test_downloads__of_clients_that_stop_reading_or_go_away_hold_no_thread_or_connection(client, service, fill_gallery):
    fill_gallery(60)
    ids = {"ids": service.value(IDS, prefix=service.token[:14])}
    usages = [usage(service)]

    for _ in range(2):
        with ExitStack() as downloads:
            responses = [downloads.enter_context(client.stream("POST", ZIP, data=ids)) for _ in range(LIMIT)]
            parts = [response.iter_bytes(1000) for response in responses]
            starts = [next(each) for each in parts]
            assert client.post(ZIP, data=ids).status_code == 429
            assert client.get("/studio/gallery").status_code == 200
            usages.append(usage(service))
            archive = ZipFile(BytesIO(starts[0] + b"".join(parts[0])))
        wait_until(lambda: usage(service)["files"] <= usages[0]["files"] + 2)  # of kept connections
        assert client.post(ZIP, data=ids).status_code == 200
        usages.append(usage(service))

    assert (archive.testzip(), len(archive.namelist())) == (None, 60)
    # Pools of a few threads and connections grow when they are used first.
    for name in ("threads", "connections"):
        assert max(each[name] for each in usages) < usages[0][name] + LIMIT / 2, usages
