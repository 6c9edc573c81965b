"""Who is calling: the Bearer token of a request and the key it stands for."""

from django.http import HttpRequest
from ninja.security.base import AuthBase

from apikeys.models import ApiKey
from lockngen import retry


class BearerToken(AuthBase):
    """`Authorization: Bearer <token>` (RFC 6750). The key is `request.auth`.

    Ninja's own HttpBearer logs the header when its scheme is unexpected, and a token must not reach a log.
    """

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "An API key, made with `manage.py apikey create NAME`."

    def __call__(self, request: HttpRequest) -> ApiKey | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return _used_key(token.strip())


@retry.idempotent
def _used_key(token: str) -> ApiKey | None:
    key = ApiKey.objects.authenticate(token)
    if key:
        key.touch()
    return key
