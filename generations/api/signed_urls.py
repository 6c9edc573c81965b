"""Signed addresses, which need no Authorization header, for `<img>` and EventSource: one generation, one purpose.

`signature` in the query contains the id of the requesting key (never its token), the time of expiry, and an HMAC made
with SECRET_KEY. It is valid only as long as the key is usable and the generation exists.
"""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Literal
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from ninja.security import APIKeyQuery

from apikeys.models import ApiKey
from lockngen.web.problems import Problem

Purpose = Literal["image", "thumbnail", "preview", "events", "prediction"]
STEPS = 10  # an address stays the same for a tenth of its lifetime, so that browsers can cache it

SALT = "lockngen.signed_urls"

_signer = Signer(salt=SALT)


class Signatures:
    """Signatures for a key that expire together, in seconds since 1970. A list of 20 has 60, so they must be fast."""

    def __init__(self, key_id: UUID):
        step = max(1, settings.SIGNED_URL_LIFETIME // STEPS)
        expires = int(time.time() + settings.SIGNED_URL_LIFETIME) // step * step + step
        self.expires_at = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        self._start = f"{urlsafe_base64_encode(key_id.bytes)}.{expires}"
        self._mac = _mac(settings.SECRET_KEY)

    def of(self, id: str, purpose: Purpose) -> str:
        mac = self._mac.copy()
        mac.update(f"{purpose}:{id}:{self._start}".encode())
        return f"{self._start}.{urlsafe_b64encode(mac.digest()).decode().rstrip('=')}"


@cache
def _mac(secret_key: str) -> hmac.HMAC:
    """Of nothing yet, with the key that Django's Signer derives (django.utils.crypto.salted_hmac), which checks it."""
    return hmac.new(hashlib.sha256(f"{SALT}signer{secret_key}".encode()).digest(), digestmod="sha256")


class SignedUrl(APIKeyQuery):
    """Authenticates by `signature`. A call without one is left to the next authentication."""

    param_name = "signature"
    openapi_description = "Part of the addresses in `signed_urls` of a generation, and of that of a preview."

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


def _verify(signature: str, id: str, purpose: Purpose) -> UUID | None:
    """The key of a signature that is valid for this purpose now."""
    head, _, mac = signature.rpartition(".")
    try:
        _signer.unsign(f"{purpose}:{id}:{head}:{mac}")  # also with SECRET_KEY_FALLBACKS
    except BadSignature:
        return None
    key, _, expires = head.partition(".")
    return UUID(bytes=urlsafe_base64_decode(key)) if time.time() < int(expires) else None
