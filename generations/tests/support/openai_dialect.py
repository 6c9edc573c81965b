"""Calls of OpenAI's API and their errors."""

import json

URL = "/v1/images/generations"
CODES = {"invalid_request_error": range(400, 500), "rate_limit_error": [429], "server_error": range(500, 600)}


def post(api, **fields):
    return api.post(URL, {"prompt": "a cat", **fields}, content_type="application/json")


def assert_error(answer, status: int, *, param: str | None = None, code: str | None = None, words: str = "") -> None:
    """Of a response of Django's test client or of a `WaitingCall`."""
    shown = json.loads(answer.body if hasattr(answer, "body") else answer.content)
    status_code = getattr(answer, "status_code", None) or answer.status
    assert set(shown) == {"error"}
    error = shown["error"]
    assert (status_code, error["param"], error["code"]) == (status, param, code), error
    assert answer.headers["Content-Type"].startswith("application/json")
    assert set(error) == {"message", "type", "param", "code"}
    assert status in CODES[error["type"]]
    assert words in error["message"]
    assert int(answer.headers.get("Retry-After", 0)) < 120
