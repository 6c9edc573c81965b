"""Calls of Replicate's API."""

import json

from generations.dialects.replicate import versions
from generations.models import Generation
from generations.renderers.base import Model

PREDICTIONS = "/v1/predictions"
OF_MODEL = "/v1/models/lockngen/sketch/predictions"
HOOK = "https://93.184.215.14/hook"
BASES = ["", "/v1", "/v1/v1", "/replicate", "/replicate/v1", "/replicate/v1/v1"]
VERSION = versions.version_of(Model("sketch"))


def create(api, path: str = OF_MODEL, body: dict | None = None, headers: dict | None = None, **input):
    body = {"input": {"prompt": "a cat", **input}, **(body or {})}
    return send(api, path, body, headers=headers)


def send(api, path: str, body, **options):
    return api.post(path, body, content_type="application/json", **options)


def created(api, **input) -> Generation:
    answer = create(api, **input)
    assert answer.status_code == 201, answer.content
    return Generation.objects.get(pk=answer.json()["id"])


def get(api, generation: Generation, **options) -> dict:
    return api.get(f"{PREDICTIONS}/{generation.id}", **options).json()


def assert_error(answer, status: int, title: str, *words: str) -> dict:
    error = json.loads(answer.content)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert (error["status"], error["title"]) == (status, title)
    for word in words:
        assert word in error["detail"]
    return error
