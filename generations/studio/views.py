"""The first page, and signing in and out."""

import logging
import time

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN
from generations.studio import gallery, prompts, visitor
from lockngen import __version__
from lockngen.web import links
from lockngen.web.proxies import client_address

logger = logging.getLogger(__name__)

MAX_KEYS = 500  # in the list of an admin user


@require_safe
@visitor.page
def home(request: HttpRequest) -> HttpResponse:
    """The studio, or what this service is for a visitor who isn't signed in."""
    found = visitor.of(request)
    if found is None:
        return _hello(request)
    if found.key is None:
        return redirect("studio:keys")
    visitor.renew(request)
    context = {**prompts.context(request), **gallery.context(request)}
    made_at = f"{time.time() * 1000:.0f}"
    return render(request, "studio/studio.html", {"visitor": found, "made_at": made_at, **context})


@require_POST
@visitor.page
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with a token or, with DEBUG on, as the development key."""
    token = DEVELOPMENT_TOKEN if settings.DEBUG and "development" in request.POST else request.POST.get("token", "")
    key = ApiKey.objects.usable_key(token.strip())
    if key is None:
        logger.warning("Sign-in to the studio refused: remote=%s", client_address(request))
        return _hello(request, _("This key is not valid. It may be mistyped, expired or revoked."), status=401)
    visitor.sign_in(request, key)
    return redirect("studio:home")


@require_safe
@visitor.page
def keys(request: HttpRequest) -> HttpResponse:
    """The keys for which an admin user can act."""
    found = visitor.of(request)
    if found is None or not found.is_operator:
        return redirect("studio:home")
    context = {"visitor": found, "keys": ApiKey.objects.usable().order_by("name")[:MAX_KEYS]}
    return render(request, "studio/keys.html", context)


@require_POST
@visitor.page
def act_as(request: HttpRequest) -> HttpResponse:
    """Choose the key whose generations an admin user sees."""
    found = visitor.of(request)
    if found and found.is_operator and (key := visitor.usable_key(request.POST.get("key", ""))):
        visitor.act_for(request, key)
    return redirect("studio:home")


@require_POST
@visitor.page
def sign_out(request: HttpRequest) -> HttpResponseBase:
    logout(request)
    return redirect("studio:home")


def _hello(request: HttpRequest, error: str = "", status: int = 200) -> HttpResponse:
    context = {"version": __version__, "error": error, "base_url": links.base(request), "debug": settings.DEBUG}
    # The header is for the studio's scripts: a stream of events that was refused may mean that the session has ended.
    response = render(request, "studio/hello.html", context, status=status)
    response["X-Signed-In"] = "no"
    return response
