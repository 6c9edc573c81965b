"""The pages of errors, for browsers. The API has problem documents (lockngen/web/problems.py).

They need neither a database nor a session, so that they can be shown whatever has failed.
"""

import sys
from http import HTTPStatus

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from lockngen.database import retry
from lockngen.web import hosts
from lockngen.web.problems import RETRY_AFTER, Problem

TEXTS = {
    400: (_("Bad request"), _("The request can't be read. The address may be incomplete.")),
    403: (_("Not allowed"), _("You may not do this. Sign in with another account, or ask an operator.")),
    404: (
        _("Not found"),
        _("There is nothing at this address. It may have been deleted, or it belongs to another key."),
    ),
    413: (_("Too large"), _("The form is larger than this service accepts. Send less at once.")),
    429: (_("Too many at once"), _("Try again.")),
    500: (_("Something went wrong"), _("An internal error occurred. It was logged, and nothing you stored is lost.")),
    503: (
        _("Unavailable for a moment"),
        _("The database can't be reached, or too many requests are waiting. What is stored is safe. Try again."),
    ),
}
SECURITY_HEADERS = (SecurityMiddleware, CSPMiddleware, XFrameOptionsMiddleware)
LOCKED = _("Login locked")
LOCKED_TEXT = _("Too many failed logins for this user from this address. Try again later: the lock ends by itself.")
NULL_ORIGIN = _(
    "The browser sent 'Origin: null'. A proxy or a page sets 'Referrer-Policy: no-referrer': "
    "set it to same-origin, or leave the header to this service."
)
UNTRUSTED_ORIGIN = _(
    "The form comes from an origin that this service does not trust. "
    "Set PUBLIC_URL to the address in the browser's address bar, or add its origin to CSRF_TRUSTED_ORIGINS."
)
MISSING = _("The form's token is missing or too old: load the page again. Cookies must be allowed.")


def response(request: HttpRequest, status: int, text: str | Promise = "", title: str | Promise = "") -> HttpResponse:
    """The page of a status in the visitor's language; `text` and `title` replace its own."""
    usual_title, usual_text = TEXTS.get(status) or TEXTS[500 if status >= 500 else 400]
    language = translation.get_language_from_request(request)
    with translation.override(language):
        context = {
            "title": title or usual_title,
            "text": text or usual_text,
            "home": settings.PUBLIC_PATH,
            "status": status,
        }
        page = render_to_string("lockngen/error.html", context)
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    headers |= {"Content-Language": language, "Vary": "Accept-Language, Cookie", "Cache-Control": "no-store"}
    return HttpResponse(page, status=status, headers=headers)


def of_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The page of an error that a page's view raises."""
    answer = response(request, problem.status, str(problem))
    for name, value in problem.members.get("headers", {}).items():
        answer[name] = value
    return answer


def is_requested(request: HttpRequest) -> bool:
    """Whether the client is a browser that shows a page."""
    return "text/html" in request.headers.get("Accept", "")


def instead_of(answer: HttpResponse, request: HttpRequest) -> HttpResponse:
    """The page for an error of the network layer, with the headers of the problem document that other clients get."""
    page = response(request, answer.status_code)
    for name, value in answer.items():
        page.headers.setdefault(name, value)
    for middleware in SECURITY_HEADERS:  # which doesn't run here
        page = middleware(HttpResponse).process_response(request, page)
    page["Content-Length"] = len(page.content)
    return page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: 413 if the form is too large, and the reason if the Host is not allowed."""
    reason = hosts.refusal(request) if isinstance(exception, SuspiciousOperation) else None
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if isinstance(exception, RequestDataTooBig) else HTTPStatus.BAD_REQUEST
    if is_requested(request):
        return response(request, status, reason or "")
    return HttpResponse(f"{reason or status.phrase}\n", status=status, content_type="text/plain")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW, with the reason and the remedy."""
    if request.headers.get("Origin") == "null":
        remedy = NULL_ORIGIN
    else:
        remedy = UNTRUSTED_ORIGIN if reason.startswith(("Origin", "Referer")) else MISSING
    if is_requested(request):
        return response(request, 403, remedy)
    return HttpResponse(f"Forbidden. {remedy}\n", status=403, content_type="text/plain")


def locked_out(request: HttpRequest, *_) -> HttpResponse:
    """AXES_LOCKOUT_CALLABLE"""
    return response(request, 429, LOCKED_TEXT, LOCKED)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403"""
    return response(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404"""
    return response(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: 503 if the database has failed."""
    return response(request, 503 if retry.outage(sys.exc_info()[1]) else 500)
