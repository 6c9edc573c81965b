"""The pages of errors, for browsers. The API has problem documents (lockngen/web/problems.py).

They need neither a database nor a session, so that they can be shown whatever has failed.
"""

import sys

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from lockngen.database import retry
from lockngen.web.problems import RETRY_AFTER, Problem

TEXTS = {
    403: (_("Not allowed"), _("You may not do this. Sign in with another account, or ask an operator.")),
    404: (
        _("Not found"),
        _("There is nothing at this address. It may have been deleted, or it belongs to another key."),
    ),
    500: (_("Something went wrong"), _("An internal error occurred. It was logged, and nothing you stored is lost.")),
    429: (_("Too many at once"), _("Try again.")),
    503: (
        _("Unavailable for a moment"),
        _("The database can't be reached, or too many requests are waiting. What is stored is safe. Try again."),
    ),
}


def of_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The page of an error that a view raises."""
    answer = response(request, problem.status, str(problem))
    for name, value in problem.members.get("headers", {}).items():
        answer[name] = value
    return answer


def response(request: HttpRequest | None, status: int, detail: str = "") -> HttpResponse:
    language = translation.get_language_from_request(request) if request else settings.LANGUAGE_CODE
    with translation.override(language):
        title, text = TEXTS[status]
        page = render_to_string(
            "lockngen/error.html", {"title": title, "text": detail or text, "home": settings.PUBLIC_PATH}
        )
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return HttpResponse(
        page, status=status, headers={**headers, "Content-Language": language, "Vary": "Accept-Language"}
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403"""
    return response(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404"""
    return response(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: 503 if the database has failed."""
    return response(request, 503 if retry.outage(sys.exc_info()[1]) else 500)
