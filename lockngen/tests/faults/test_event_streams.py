"""A stream that is open while the database is unavailable."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lockngen.tests.support.dev import URL
from lockngen.tests.support.stack import Client

DOWN = 18  # seconds: longer than a stream is silent


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["down", "frozen"])
def test_stream__continues_after_an_outage(stack, client, fault):
    stack.worker.park()
    id = client.create("a lighthouse in a storm").json["id"]
    with ThreadPoolExecutor() as pool, Client(stack) as follower:
        stream = pool.submit(follower.get, f"{URL}/{id}/events")
        time.sleep(0.5)
        if fault == "down":
            stack.cluster.restart("immediate", seconds_down=DOWN)
        else:
            with stack.cluster.frozen():
                time.sleep(DOWN)
        assert not stream.done()
        stack.worker.resume()
        answer = stream.result(40)

    assert b": still here\n" in answer.body
    assert b"event: end\n" in answer.body
    assert b'"status":"completed"' in answer.body
