"""Errors of the API as problem documents (RFC 9457). Dialects have formats of their own, made from these."""

import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation
from ninja.params.models import QueryModel

from lockngen.database import retry
from lockngen.database.breaker import breaker
from lockngen.plain import one_line
from lockngen.web import hosts, openapi

logger = logging.getLogger(__name__)

CONTENT_TYPE = openapi.PROBLEM_TYPE
RETRY_AFTER = 2  # seconds; about how long a restart of the database takes
MOST_ERRORS, LONGEST_FIELD = 20, 100  # errors listed in a 422, and characters of a field name
NO_OBJECT, OBJECT_TYPES = "it must be a JSON object", ("dict_type", "model_type", "model_attributes_type")
DETAILS = {
    400: "The request can't be read.",
    401: "A valid API key is needed: send it as 'Authorization: Bearer <token>'.",
    404: "This address does not exist.",
    405: "This address doesn't support this method.",
    413: "The body is larger than {limit} bytes.",
    500: "An internal error occurred. It was logged.",
    503: "The database can't be reached at the moment. Try again.",
}
Format = Callable[[HttpResponse, dict[str, Any]], HttpResponse]
"""Makes a dialect's error from a problem document: the response that has it, and its members."""

_formats: list[tuple[re.Pattern[str], Format]] = []
IN_DOUBT = "The database was lost while this was being stored. Check whether it exists before you try again."


class ProblemDocument(Schema):
    """The format of every error."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


def problems(*codes: int) -> dict[int, type[ProblemDocument]]:
    """The problem responses of an operation, for the documentation, including those common to all."""
    return dict.fromkeys(sorted({400, 401, 429, 500, 503, *codes}), ProblemDocument)


class Problem(Exception):
    """An error that a view responds with; `members` are further arguments of `response`, such as `type`."""

    def __init__(self, status: int, detail: str, **members):
        super().__init__(detail)
        self.status, self.detail, self.members = status, detail, members


def response(status: int, detail: str = "", headers: dict[str, str] | None = None, **members) -> HttpResponse:
    """A problem document. Its detail defaults to a description of its status."""
    title = HTTPStatus(status).phrase
    general = DETAILS.get(status, f"{title}.").format(limit=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail or general, **members}
    # Field names and other parts come from the request and may contain a token, which must not be repeated.
    text = import_string(settings.REDACT)(json.dumps(body))
    answer = HttpResponse(text, status=status, content_type=CONTENT_TYPE, headers=headers)
    answer["Content-Length"] = len(answer.content)  # some responses bypass the middleware that adds these
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def of(problem: Problem) -> HttpResponse:
    return response(problem.status, problem.detail, **problem.members)


def of_error(method: str, path: str, request_id: str, error: Exception) -> HttpResponse:
    """The response to an error that no view has handled: 503 if the database failed, else 500. It is logged."""
    if isinstance(error, Problem):
        return of(error)
    if retry.outage(error) is None:
        logger.error("%s %r failed request_id=%s", method, path, request_id, exc_info=error)
        return response(500)
    logger.warning("%s %r: the database failed: %s request_id=%s", method, path, one_line(error), request_id)
    if retry.is_transient(error):
        breaker.report()
    return unlogged(unavailable(IN_DOUBT if isinstance(error, retry.InDoubt) else ""))  # it is logged above


def busy(detail: str, type: str = "about:blank") -> Problem:
    return Problem(503, detail, type=type, headers={"Retry-After": str(RETRY_AFTER)})


def unavailable(detail: str = "") -> HttpResponse:
    return response(503, detail, headers={"Retry-After": str(RETRY_AFTER)})


def register_format(paths: str, format: Format) -> None:
    """Give errors of the paths that match this regular expression another format."""
    _formats.append((re.compile(paths), format))


def formatted(path: str, answer: HttpResponse) -> HttpResponse:
    """A response of the API with its errors in the format of its path."""
    if answer.status_code < 400 or answer.get("Content-Type") != CONTENT_TYPE:
        return answer
    for paths, format in _formats:
        if paths.match(path):
            shaped = format(answer, json.loads(answer.content))
            shaped["Content-Length"] = len(shaped.content)
            for name, value in answer.items():
                shaped.headers.setdefault(name, value)
            return _logged_as(answer, shaped)
    return answer


def unlogged(answer: HttpResponse) -> HttpResponse:
    """The response, which Django won't log. Upstream would have to offer: a public way to do that."""
    answer._has_been_logged = True
    return answer


def _logged_as(answer: HttpResponse, shaped: HttpResponse) -> HttpResponse:
    """The shaped response, which Django won't log if it has logged the answer."""
    return unlogged(shaped) if getattr(answer, "_has_been_logged", False) else shaped


class ProblemAPI(NinjaAPI):
    """An API whose errors are all problem documents, also in its OpenAPI document.

    A dialect has no document here. It ignores unknown query parameters, as its clients send many.
    """

    def __init__(self, *, dialect: str = "", **options):
        if dialect:
            options |= {"urls_namespace": dialect, "openapi_url": None, "docs_url": None}
        super().__init__(**options)
        self._schemas: dict[str, dict] = {}  # by path prefix
        self.add_exception_handler(Problem, lambda request, problem: of(problem))
        self.add_exception_handler(HttpError, _http_error)
        self.add_exception_handler(ValidationError, _invalid)
        self.add_exception_handler(Http404, lambda request, error: response(404, str(error)))
        for kind in (Exception, *retry.ERRORS):  # ninja has a handler of its own for some errors of a database
            self.add_exception_handler(
                kind, lambda request, error: of_error(request.method, request.path, getattr(request, "id", "-"), error)
            )
        if not dialect:
            self.add_decorator(_with_known_parameters, mode="view")

    def get_openapi_schema(self, *, path_prefix: str | None = None, path_params: dict | None = None):
        """Made once, as that takes 60 ms."""
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        if prefix not in self._schemas:
            self._schemas[prefix] = openapi.complete(super().get_openapi_schema(path_prefix=prefix))
        return self._schemas[prefix]


class ApiProblemsMiddleware:
    """Gives every error of the API and of a dialect one format, with DEBUG on and off.

    Django has other formats for unknown addresses, wrong methods and bad hosts, which it refuses before it finds a
    view. Requests that are not valid HTTP are refused by gunicorn.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not (request.path_info + "/").startswith(settings.API_PATHS):
            return self.get_response(request)
        is_head = request.method == "HEAD"
        if is_head:  # a resource that supports GET supports HEAD (RFC 9110, 9.1)
            request.method = "GET"
        answer = self._as_problem(_refusal(request) or self.get_response(request))
        answer = formatted(request.path_info, answer)
        return without_body(answer) if is_head else answer

    def _as_problem(self, answer: HttpResponse) -> HttpResponse:
        if answer.status_code < 400 or answer["Content-Type"] == CONTENT_TYPE:
            return answer
        allow = {"Allow": answer["Allow"]} if answer.has_header("Allow") else None
        return _logged_as(answer, response(answer.status_code, headers=allow))


def invalid(field: str, detail: str) -> Problem:
    """A 422 for one invalid field."""
    return Problem(422, f"{field}: {detail}", errors=[{"field": field, "detail": detail}])


def _with_known_parameters(run: Callable) -> Callable:
    """Rejects unknown query parameters of an operation: after authentication, before the body is read."""
    operation: Operation = run.__self__
    known = [
        name
        for model in operation.models
        if issubclass(model, QueryModel)
        for name in getattr(model, "__ninja_flatten_map__", model.model_fields)
    ]
    read = operation._get_values

    @wraps(read)
    def check_and_read(request: HttpRequest, *arguments):
        _refuse_unknown_parameters(request, known)
        return read(request, *arguments)

    operation._get_values = check_and_read
    return run


def _refuse_unknown_parameters(request: HttpRequest, known: list[str]) -> None:
    unknown = [name[:LONGEST_FIELD] for name in request.GET if name not in known][:MOST_ERRORS]
    if not unknown:
        return
    takes = f"this call takes {', '.join(known)}" if known else "this call takes none"
    errors = [{"field": name, "detail": f"it is not a query parameter; {takes}"} for name in unknown]
    raise Problem(422, f"Unknown query parameters: {', '.join(unknown)}; {takes}.", errors=errors)


def without_body(answer: HttpResponse) -> HttpResponse:
    """The same headers, including Content-Length, without a body. What is open is closed with the response."""
    if answer.streaming:
        answer.streaming_content = ()
    else:
        answer.content = b""
        answer.finish = None  # it doesn't wait either
    return answer


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """An error for a request that is rejected before it is read, or None."""
    if breaker.is_open:
        return unlogged(unavailable())  # the breaker has logged it once
    if reason := hosts.refusal(request):
        return response(400, reason)
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        return response(400, "Content-Length is not a number.")
    if int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return response(413)
    return None


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error, AuthenticationError):
        return response(401, headers={"WWW-Authenticate": "Bearer"})
    if isinstance(error.__cause__, Problem):  # raised by the body parser
        return of(error.__cause__)
    return response(error.status_code, str(error))


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    # Only a few are listed: a body may contain an invalid field every ten bytes.
    errors = [
        {"field": _field(item["loc"])[:LONGEST_FIELD], "detail": _detail(item)} for item in error.errors[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{item['field']}: {item['detail']}" for item in errors)
    return response(422, detail, errors=errors)


def _detail(item: dict[str, Any]) -> str:
    """What is wrong. Pydantic's messages for what is no object contain the name of a class."""
    return NO_OBJECT if item["type"] in OBJECT_TYPES else item["msg"].removeprefix("Value error, ")


def _field(location: tuple) -> str:
    """The client's name of a field, from a location such as ("body", "data", "width")."""
    location = location[:-1] if location[-1:] == ("[key]",) else location  # Pydantic's mark of a name in an object
    return ".".join(str(part) for part in location[2:]) or ".".join(str(part) for part in location[1:]) or "body"
