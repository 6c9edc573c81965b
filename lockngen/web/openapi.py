"""What the OpenAPI document contains for every operation in addition to what its code declares."""

from http import HTTPStatus
from typing import Any

PROBLEM_TYPE = "application/problem+json"
PROBLEM = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
COMMON = (400, 401, 404, 405, 413, 422, 500, 503)  # any URL can return these
# gunicorn's own response. It has no content here, as generated clients need no type for it.
LONG_ADDRESS = {"description": "The request line is longer than 4,094 bytes."}
INTEGER = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
LIMIT_HEADERS = {
    "RateLimit-Limit": ("Requests a minute. Absent where the key has no limit.", INTEGER),
    "RateLimit-Remaining": ("Requests that would be admitted now.", INTEGER),
    "RateLimit-Reset": ("Seconds until the whole limit is available again.", INTEGER),
}
HEADERS = {
    **LIMIT_HEADERS,
    "Retry-After": ("Seconds to wait before the next attempt.", INTEGER),
    "Location": ("The address of what was created or is elsewhere.", {"type": "string", "format": "uri"}),
    "ETag": ("The image's SHA-256 in quotes.", TEXT),
    "WWW-Authenticate": ("The authentication scheme: Bearer.", TEXT),
    "Allow": ("The methods of this address.", TEXT),
}
OF_STATUS = {
    201: ["Location"],
    302: ["Location"],
    304: ["ETag"],
    401: ["WWW-Authenticate"],
    405: ["Allow"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """Add common problems and headers to every operation, in place."""
    for path in schema["paths"].values():
        for operation in path.values():
            _complete(operation)
    schema["components"]["headers"] = {
        name: {"description": description, "schema": value} for name, (description, value) in HEADERS.items()
    }
    return schema


def _complete(operation: dict[str, Any]) -> None:
    given = {int(status): answer for status, answer in operation["responses"].items()}
    for status in COMMON:
        given.setdefault(status, {"description": HTTPStatus(status).phrase})
    described = {status: _described(status, given[status]) for status in given} | {414: LONG_ADDRESS}
    operation["responses"] = {str(status): described[status] for status in sorted(described)}


def _described(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    names = [*OF_STATUS.get(status, []), *answer.get("x-headers", [])]
    if status not in (400, 401, 405, 413):  # these are returned before the limit is checked or without a key
        names += LIMIT_HEADERS
    described = {name: value for name, value in answer.items() if name != "x-headers"}
    if status >= 400:
        described["content"] = PROBLEM
    return described | {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}
