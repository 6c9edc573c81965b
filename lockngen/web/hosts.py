"""Host and Origin headers: which requests may use any Host, and the errors for the others."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import HttpRequest, HttpResponse

UNKNOWN = "The Host header names no host of this service: ALLOWED_HOSTS lists them."
UNDERSCORE = (
    "The Host header has an underscore, which is not allowed in host names: "
    "use a name without one, such as a network alias."
)
NULL_ORIGIN = (
    "The browser sent 'Origin: null'. A proxy or a page sets 'Referrer-Policy: no-referrer': "
    "set it to same-origin, or leave the header to this service."
)
UNTRUSTED_ORIGIN = (
    "The form comes from an origin that this service does not trust. "
    "Set PUBLIC_URL to the address in the browser's address bar, or add its origin to CSRF_TRUSTED_ORIGINS."
)
MISSING = "The form's token is missing or too old: load the page again. Cookies must be allowed."


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


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: plain text with the reason, if the Host is not allowed."""
    reason = refusal(request) if isinstance(exception, SuspiciousOperation) else None
    return HttpResponse(f"{reason or 'Bad Request'}\n", status=400, content_type="text/plain")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW: plain text with the reason and the remedy."""
    origin = request.headers.get("Origin")
    if origin == "null":
        remedy = NULL_ORIGIN
    else:
        remedy = UNTRUSTED_ORIGIN if reason.startswith(("Origin", "Referer")) else MISSING
    return HttpResponse(f"Forbidden. {remedy}\n", status=403, content_type="text/plain")
