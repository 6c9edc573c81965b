"""Host headers: which requests may use any, and why the others are refused."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

UNKNOWN = "The Host header names no host of this service: ALLOWED_HOSTS lists them."
UNDERSCORE = (
    "The Host header has an underscore, which is not allowed in host names: "
    "use a name without one, such as a network alias."
)


class ProbeHostMiddleware:
    """Allows any Host for `/ht/…`, because probes use IP addresses. The responses contain no link to this host."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if (request.path_info + "/").startswith("/ht/"):
            request.get_host = lambda: "localhost"
        return self.get_response(request)


def refusal(request: HttpRequest) -> str | None:
    """Why the request's Host is not allowed, or None."""
    try:
        request.get_host()
    except DisallowedHost:
        return UNDERSCORE if "_" in request.META.get("HTTP_HOST", "") else UNKNOWN
    return None
