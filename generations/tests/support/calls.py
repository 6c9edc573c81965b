"""Calls of the native API."""

import json

from django.test import Client

URL = "/api/v1/generations"


def post(client: Client, body, **options):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(URL, text, content_type="application/json", **options)


def assert_problem(answer, status: int, *words: str) -> None:
    problem = json.loads(answer.content)
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer["Content-Type"] == "application/problem+json"
    assert set(problem) >= {"type", "title", "status", "detail"}
    for word in words:
        assert word in problem["detail"]


def calls(client: Client, id) -> dict:
    return {
        "show": client.get(f"{URL}/{id}"),
        "image": client.get(f"{URL}/{id}/image"),
        "cancel": client.post(f"{URL}/{id}/cancel"),
        "delete": client.delete(f"{URL}/{id}"),
    }
