"""Requests of the health checks."""

import json

from django.test import Client


def ready(client: Client, path: str = "/ht/", **headers) -> tuple[int, dict]:
    answer = client.get(f"{path}?format=json", headers=headers)
    return answer.status_code, json.loads(answer.content)
