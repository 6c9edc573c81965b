"""Signed addresses, which need no Authorization header, for `<img>` and EventSource: one generation, one purpose.

`signature` in the query contains the id of the requesting key (never its token), the time of expiry, and an HMAC made
with SECRET_KEY. It is valid only as long as the key is usable and the generation exists.
"""

import time
from collections.abc import Callable
from typing import Literal
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from ninja.security import APIKeyQuery

from apikeys.models import ApiKey
from lockngen.web import links
from lockngen.web.problems import Problem

Purpose = Literal["image", "thumbnail", "events"]
PATHS: dict[Purpose, str] = {"image": "image", "thumbnail": "image?size=thumb", "events": "events"}
STEPS = 10  # an address stays the same for a tenth of its lifetime, so that browsers can cache it

_signer = Signer(salt="lockngen.signed_urls")


def make(request: HttpRequest, id: UUID, purpose: Purpose, expires: int) -> str:
    """The address of a generation's image, thumbnail or events, signed for the request's key."""
    path, signature = PATHS[purpose], _sign(request.auth.pk, id, purpose, expires)
    separator = "&" if "?" in path else "?"
    return links.absolute(request, f"/api/v1/generations/{id}/{path}{separator}signature={signature}")


def expiry() -> int:
    """When an address issued now expires, in seconds since 1970."""
    step = max(1, settings.SIGNED_URL_LIFETIME // STEPS)
    return int(time.time() + settings.SIGNED_URL_LIFETIME) // step * step + step


class SignedUrl(APIKeyQuery):
    """Authenticates by `signature`. A call without one is left to the next authentication."""

    param_name = "signature"
    openapi_description = "Part of the addresses in `signed_urls` of a generation."

    def __init__(self, purpose: Callable[[HttpRequest], Purpose]):
        super().__init__()
        self.purpose = purpose

    def authenticate(self, request: HttpRequest, signature: str | None) -> ApiKey | None:
        if signature is None:
            return None
        # Only the plain spelling is accepted, as logs redact no other.
        is_plain = f"signature={signature}" in request.META["QUERY_STRING"].split("&")
        id = request.resolver_match.kwargs["id"].lower()
        pk = _verify(signature, id, self.purpose(request)) if is_plain else None
        key = pk and ApiKey.objects.usable().filter(pk=pk).first()
        if key is None:
            raise Problem(
                401,
                "The signed address is not valid any more. Get the generation again for a new one.",
                type="urn:lockngen:problem:signature-invalid",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key


def _sign(key: UUID, id: UUID | str, purpose: Purpose, expires: int) -> str:
    head = f"{urlsafe_base64_encode(key.bytes)}.{expires}"
    return f"{head}.{_signer.signature(f'{purpose}:{id}:{head}')}"


def _verify(signature: str, id: str, purpose: Purpose) -> UUID | None:
    """The key of a signature that is valid for this purpose now."""
    head, _, mac = signature.rpartition(".")
    try:
        _signer.unsign(f"{purpose}:{id}:{head}:{mac}")  # also with SECRET_KEY_FALLBACKS
    except BadSignature:
        return None
    key, _, expires = head.partition(".")
    return UUID(bytes=urlsafe_base64_decode(key)) if time.time() < int(expires) else None
