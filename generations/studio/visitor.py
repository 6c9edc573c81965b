"""Who uses the studio: a key's holder who signed in with its token, or an admin user who acts for a key.

The session has the key's id, never its token. It is checked at each request, so that a revoked key is signed out.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps

from csp.decorators import csp_replace
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.views.decorators.cache import never_cache

from apikeys.models import ApiKey
from lockngen.web import error_pages
from lockngen.web.problems import Problem

# In the session: the key whose token was sent, and the key that an admin user has chosen. The second has no effect once
# the user has lost the permission.
KEY, CHOSEN_KEY = "studio_key", "studio_chosen_key"
LIFETIME = 14 * 24 * 3600  # seconds of a session with a key; the first page renews it
View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class Visitor:
    """The key whose generations are shown, if there is one, and whether an admin user acts for it."""

    key: ApiKey | None
    is_operator: bool = False
    may_change: bool = True


def of(request: HttpRequest) -> Visitor | None:
    """The visitor, or None if nobody is signed in."""
    is_operator = request.user.is_staff and request.user.has_perm("generations.view_generation")
    pk = (is_operator and request.session.get(CHOSEN_KEY)) or request.session.get(KEY)
    key = usable_key(pk) if pk else None
    if is_operator:
        return Visitor(key, True, request.user.has_perm("generations.change_generation"))
    if pk and key is None:
        request.session.flush()
    return Visitor(key) if key else None


def usable_key(pk: str) -> ApiKey | None:
    with suppress(ValidationError):  # it is no UUID
        return ApiKey.objects.usable().filter(pk=pk).first()
    return None


def sign_in(request: HttpRequest, key: ApiKey) -> None:
    """Begin a session for a key whose token was sent. An admin user keeps the session of the login."""
    if not request.user.is_staff:
        request.session.flush()
        request.session.set_expiry(LIFETIME)
    request.session.cycle_key()
    request.session[KEY] = str(key.pk)
    request.session.pop(CHOSEN_KEY, None)


def act_for(request: HttpRequest, key: ApiKey) -> None:
    """Show the generations of this key to an admin user."""
    request.session[CHOSEN_KEY] = str(key.pk)


def renew(request: HttpRequest) -> None:
    """Let the session last for LIFETIME from now on: Django counts from when it was last stored."""
    request.session.modified = True


def page(view: View) -> View:
    """A page for everyone: in the visitor's language, without inline styles, and never from a cache."""

    @wraps(view)
    @never_cache
    @csp_replace({"style-src": ["'self'"]})
    def respond(request: HttpRequest, *arguments, **options) -> HttpResponse:
        with translation.override(translation.get_language_from_request(request)):
            response = view(request, *arguments, **options)
            response.headers.setdefault("Content-Language", translation.get_language())
        return response

    return respond


def with_key(view: View, *, only_reads: bool = False) -> View:
    """A view for visitors with a key. `request.auth` is the key, as in the API. A POST changes something by default."""

    @wraps(view)
    def respond(request: HttpRequest, *arguments, **options) -> HttpResponse:
        visitor = of(request)
        if visitor is None or visitor.key is None:
            return _to_home(request)
        if request.method not in ("GET", "HEAD") and not (only_reads or visitor.may_change):
            raise PermissionDenied
        request.visitor, request.auth = visitor, visitor.key
        try:
            return view(request, *arguments, **options)
        except Problem as problem:
            return error_pages.of_problem(request, problem)

    return respond


@never_cache
def _to_home(request: HttpRequest) -> HttpResponse:
    if request.htmx:
        return HttpResponse(status=401, headers={"HX-Redirect": reverse("studio:home")})
    return redirect("studio:home")


def signed_in(view: View) -> View:
    """A page for visitors with a key."""
    return page(with_key(view))
