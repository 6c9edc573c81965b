"""Calls that are blocked until their images exist, on two web processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import openai
import pytest

from apikeys.querysets import DEVELOPMENT_TOKEN
from lockngen.tests.support.dev import URL
from lockngen.tests.support.stack import Client
from lockngen.tests.support.waiting import wait_until

CALLS, GETS = 100, 1000
COUNT_PENDING = "SELECT count(*) FROM generations_generation WHERE status = 0"
COUNT = "SELECT count(*) FROM generations_generation WHERE prompt = 'a lighthouse in a storm'"


@pytest.mark.faults
def test_blocked_calls__delay_no_other(stack):
    stack.worker.park()
    token = stack.make_token("blocked")
    clients = [Client(stack, token=token) for _ in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as threads, Client(stack, token=token) as reader:
        body = {"prompt": "a lighthouse", "size": "64x64"}
        calls = [threads.submit(client.ask, "POST", "/v1/images/generations", body) for client in clients]
        wait_until(lambda: stack.cluster.value(COUNT_PENDING) == CALLS, 60)
        answers = [reader.get(f"{URL}?limit=1") for _ in range(GETS)]
        assert not any(call.done() for call in calls)
        stack.worker.resume()
        made = [call.result() for call in calls]

    assert {answer.status for answer in answers} == {200}
    assert quantiles([answer.seconds for answer in answers], n=100)[98] < 0.1
    assert {(answer.status, len(answer.json["data"])) for answer in made} == {(200, 1)}
    for client in clients:
        client.close()


@pytest.mark.faults
def test_restart_of_the_web__makes_the_sdk_repeat_its_call(stack):
    stack.worker.park()
    base_url = f"http://127.0.0.1:{stack.port}/v1"
    with (
        openai.OpenAI(base_url=base_url, api_key=DEVELOPMENT_TOKEN, max_retries=10) as client,
        ThreadPoolExecutor() as threads,
    ):
        call = threads.submit(client.images.generate, prompt="a lighthouse in a storm", size="64x64")
        wait_until(lambda: stack.cluster.value(COUNT))
        stack.web.park()
        stack.web.resume()
        stack.worker.resume()
        made = call.result(60)

    assert len(made.data) == 1
    assert stack.cluster.value(COUNT) == 1
