"""Checks that servers answer alike before they are compared."""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.served import Server

PATH = "/api/v1/generations"
BAD_BODIES = (
    {},
    {"prompt": ""},
    {"prompt": " "},
    {"prompt": "x" * 2001},
    {"prompt": "x", "width": 65},
    {"prompt": "x", "y": 1},
)
LIMITS = [f"{form}-{name}" for form in ("RateLimit", "X-RateLimit") for name in ("Limit", "Remaining", "Reset")]


def check(servers: dict[str, Server], calls: Path) -> None:
    """Exit if the responses of the servers differ in their status, their body or the limit's headers."""
    lines = [line.split() for line in calls.read_text().split("\n")]
    expected = {}
    for name, server in servers.items():
        answers = {request: _answer(server, *request) for request in _requests(lines)}
        created = [_created(server, lines[number][0]) for number in range(4)]
        expected = expected or {"answers": answers, "created": created}
        for request, answer in answers.items():
            if answer != expected["answers"][request]:
                sys.exit(f"{name}: {request[1:]} got\n{answer}\ninstead of\n{expected['answers'][request]}")
        if created != expected["created"]:
            sys.exit(f"{name}: a new generation is\n{created}\ninstead of\n{expected['created']}")


def _requests(lines: list[list[str]]) -> list[tuple[str, str, str, str | None]]:
    """Token, method, path and body of requests whose responses do not depend on earlier ones."""
    requests = []
    for token, id, cursor in lines[:20]:
        pages = (f"?cursor={cursor}", f"?limit=3&cursor={cursor}", f"?status=failed&cursor={cursor}")
        requests += [(token, "GET", PATH + path, None) for path in (f"/{id}", *pages)]
    token, id, cursor = lines[0]
    stranger = next(other for other, *_ in lines if other != token)
    requests += [(stranger, "GET", f"{PATH}/{id}", None), (token, "GET", f"{PATH}?limit=0", None)]
    requests += [("lg_live_unknown", "GET", f"{PATH}/{id}", None), ("lg_live_unknown", "POST", PATH, '{"prompt": "x"}')]
    requests += [(token, "POST", PATH, json.dumps(body)) for body in BAD_BODIES]
    return requests


def _answer(server: Server, token: str, method: str, path: str, body: str | None = None):
    """The status, and of a success the limit's headers that are there and the body."""
    status, headers, content = _call(server, token, method, path, body)
    return (status, [name for name in LIMITS if name in headers], content) if status == 200 else (status, [], None)


def _created(server: Server, token: str) -> dict:
    """A new generation without what differs for each, after it has been read again."""
    status, headers, generation = _call(server, token, "POST", PATH, '{"prompt": "a lighthouse é", "seed": 7}')
    id = generation["id"]
    location = f"http://127.0.0.1:{server.port}{PATH}/{id}"
    assert (status, headers["Location"]) == (201, location), (status, headers["Location"])
    assert id[14] == "7", id
    assert _call(server, token, "GET", f"{PATH}/{id}")[2] == generation
    assert _call(server, token, "GET", f"{PATH}?limit=1")[2]["items"] == [generation]
    return {**generation, "id": None, "created_at": None, "signed_urls": None}


def _call(server: Server, token: str, method: str, path: str, body: str | None = None):
    """The status, the headers, and the JSON with one name for all servers' addresses."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, body and body.encode(), headers)
    response = connection.getresponse()
    content = response.read().decode().replace(f"127.0.0.1:{server.port}", "HOST")
    connection.close()
    return response.status, response.headers, json.loads(content)
