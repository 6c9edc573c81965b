"""Calls that are blocked until their images exist, on two web processes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import pytest

from lockngen.tests.support.dev import URL
from lockngen.tests.support.stack import Client

CALLS, GETS = 100, 1000


@pytest.mark.faults
def test_blocked_calls__delay_no_other(stack):
    stack.worker.park()
    token = stack.make_token("blocked")
    clients = [Client(stack, token=token) for _ in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as threads, Client(stack, token=token) as reader:
        body = {"prompt": "a lighthouse", "size": "64x64"}
        calls = [threads.submit(client.ask, "POST", "/v1/images/generations", body) for client in clients]
        while stack.cluster.value("SELECT count(*) FROM generations_generation WHERE status = 0") < CALLS:
            time.sleep(0.1)
        answers = [reader.get(f"{URL}?limit=1") for _ in range(GETS)]
        assert not any(call.done() for call in calls)
        stack.worker.resume()
        made = [call.result() for call in calls]

    assert {answer.status for answer in answers} == {200}
    assert quantiles([answer.seconds for answer in answers], n=100)[98] < 0.1
    assert {(answer.status, len(answer.json["data"])) for answer in made} == {(200, 1)}
    for client in clients:
        client.close()
