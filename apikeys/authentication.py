"""Authentication of API calls by their token, including the check of the key's rate limit."""

import logging
from base64 import b64decode
from contextlib import suppress

from django.http import HttpRequest
from ninja.security.base import AuthBase

from apikeys import tokens
from apikeys.models import ApiKey
from apikeys.rate_limit.statement import LIMITED, AuthResult
from lockngen.web.problems import Problem
from lockngen.web.proxies import client_address

logger = logging.getLogger(__name__)

EXPOSED = "in-query"
# Names of query parameters in which clients send a key by mistake.
QUERY_NAMES = {"key", "apikey", "token", "accesstoken", "authtoken", "bearer", "authorization"}


class BearerToken(AuthBase):
    """`Authorization: Bearer <token>` (RFC 6750). The key is `request.auth`. A free call is not counted.

    Ninja's own HttpBearer logs the header when its scheme is unexpected; a token must not be logged.
    """

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "An API key, made with `manage.py apikey create NAME`."
    schemes = ("bearer",)

    def __init__(self, is_free: bool = False):
        super().__init__()
        self.units = 0 if is_free else 1

    def __call__(self, request: HttpRequest) -> ApiKey | None:
        request.auth_result = auth_result = self._authenticate(request)
        if auth_result.is_admitted:
            return auth_result.key
        _log(request, auth_result)
        if auth_result.reason == LIMITED:
            state = auth_result.rate_limit_state
            raise limited(f"The key's limit of {state.limit} requests a minute is used up.", state.retry_after)
        if auth_result.reason == EXPOSED:
            raise Problem(
                400,
                "A key doesn't belong in the address, which logs and browser histories keep. Send it as "
                "'Authorization: Bearer <token>', and replace the key that was sent.",
                type="urn:lockngen:problem:key-in-query",
            )
        return None  # the same 401 for all other reasons

    def _authenticate(self, request: HttpRequest) -> AuthResult:
        """The result that the fast path has, or a new one. Raises an error that the fast path had."""
        if prior := getattr(request, "prior", None):
            if prior.error:
                raise prior.error
            return prior.auth_result
        if _has_key_in_query(request):
            return AuthResult(EXPOSED)
        token = self._token(request)
        return ApiKey.objects.authenticate(token, self.units) if token else AuthResult("missing")

    def _token(self, request: HttpRequest) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() in self.schemes else ""


class TokenHeader(BearerToken):
    """`Authorization: Token <token>`, as older clients of Replicate send it. Bearer is accepted as well."""

    schemes = ("bearer", "token")


class BasicPassword(BearerToken):
    """HTTP Basic (RFC 7617) with the token as the password and any user name. Bearer is accepted as well."""

    openapi_scheme = "basic"

    def _token(self, request: HttpRequest) -> str:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return super()._token(request)
        with suppress(ValueError):
            return b64decode(credentials, validate=True).decode().partition(":")[2]
        return ""


def limited(detail: str, seconds: int) -> Problem:
    """The error for a call whose key has used up a limit for this time."""
    return Problem(
        429,
        f"{detail} Try again in {seconds} s.",
        type="urn:lockngen:problem:rate-limited",
        headers={"Retry-After": str(seconds)},
    )


def _has_key_in_query(request: HttpRequest) -> bool:
    return any(
        name.lower().replace("_", "").replace("-", "") in QUERY_NAMES or any(map(tokens.is_in, [name, *values]))
        for name, values in request.GET.lists()
    )


def _log(request: HttpRequest, auth_result: AuthResult) -> None:
    """Log one line of key=value pairs. Of the token it contains only the visible prefix."""
    logger.warning(
        "Refused: reason=%s key=%s prefix=%s remote=%s method=%s path=%r request_id=%s",
        auth_result.reason,
        auth_result.key.pk if auth_result.key else "-",
        auth_result.prefix or "-",
        client_address(request),
        request.method,
        request.path,
        getattr(request, "id", "-"),
    )
