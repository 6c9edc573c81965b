"""The headers that the middleware adds to a successful response of the API, for responses that bypass it."""

from http import HTTPStatus

from django.conf import settings

from lockngen.web.handler import Handler, Headers

PATH = "/api/v1/openapi.json"  # a response of the API that needs no database
OWN_HEADERS = {b"content-type", b"content-length"}


def common_headers(handler: Handler, scheme: str) -> Headers | None:
    """The headers of responses over http or https, or None if a response can't be made, such as after a redirect."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": scheme,
        "path": PATH,
        "query_string": b"",
        "request_id": "",
        "headers": [(b"host", _allowed_host().encode())],
    }
    response = handler(scope, b"")
    if response.status != HTTPStatus.OK:
        return None
    return [pair for pair in response.headers if pair[0].lower() not in OWN_HEADERS]


def _allowed_host() -> str:
    pattern = next(iter(settings.ALLOWED_HOSTS), "*")
    return "localhost" if pattern == "*" else pattern.removeprefix(".")
