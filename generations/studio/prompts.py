"""The prompt form: what a visitor chooses, and the generations that are made from it."""

import json
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from apikeys.models import ApiKey
from generations import renderers
from generations.api import creation, fast
from generations.api.schemas import QUALITY_NEEDS_FORMAT, GenerationIn
from generations.models import OutputFormat
from generations.renderers.base import DEFAULT_MODEL
from generations.studio import explanations, gallery, labels, visitor
from lockngen.web import links
from lockngen.web.problems import Problem

NUMBERS = {"width": int, "height": int, "steps": int, "guidance": float, "seed": int, "n": int, "quality": int}
TEXTS = ("prompt", "negative_prompt", "model", "output_format", "labels")
FIELDS = (*TEXTS, *NUMBERS)
ADVANCED = ("negative_prompt", "steps", "guidance", "seed", "output_format", "quality", "labels")
COUNTS = range(1, 5)
SIZES = ((512, 512), (768, 512), (512, 768), (1024, 1024), (1344, 768), (768, 1344))  # pixels
WITHOUT_FIELD = {QUALITY_NEEDS_FORMAT: "quality"}  # where errors stand that are of several fields
CALL = "call"  # a hidden field with the Idempotency-Key of the form: sent twice, it creates once


def context(
    request: HttpRequest, values: dict[str, str] | None = None, errors: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the form's template needs: the models that can be rendered, the values and the errors beside them."""
    pool, values = renderers.current_pool(), values or {}
    unavailable = pool.unavailable()
    return {
        "models": [model for name, model in pool.models.items() if name not in unavailable],
        "chosen_model": values.get("model") or pool.resolve_model(DEFAULT_MODEL),
        "sizes": [(width, height, _shape(width, height)) for width, height in SIZES],
        "counts": [str(number) for number in COUNTS],
        "formats": OutputFormat,
        "fields": FIELDS,
        "values": values,
        "errors": errors or {},
        "is_advanced": any(values.get(name) for name in ADVANCED),
        "api_url": f"{links.base(request)}{fast.URL}",
        CALL: uuid4().hex,
    }


@require_POST
@visitor.signed_in
def create(request: HttpRequest) -> HttpResponse:
    """Store the generations of the form, and show it again: with the same values, or with the errors."""
    values = {name: request.POST[name] for name in FIELDS if request.POST.get(name)}
    try:
        created = creation.create(request, lambda: _parameters(request, values), values, key=_key(request, values))
    except Problem as problem:
        items = problem.members.get("errors") or [{"field": CALL, "detail": problem.detail}]
        errors = {item["field"]: explanations.as_sentence(item["detail"]) for item in items}
        # htmx replaces the form only after a success, and a browser reports every other status in its console.
        status = 200 if request.htmx else 422
        return _page(request, context(request, values, errors), status)
    if not request.htmx:
        return redirect("studio:home")
    count = len(created.generations)
    message = ngettext("%(count)d image is queued.", "%(count)d images are queued.", count) % {"count": count}
    response = _page(request, context(request, values) | {"message": message})
    response["HX-Trigger"] = "studio:created"
    return response


def _page(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """The form alone, or the whole page for a browser without scripts."""
    template = "studio/prompt.html" if request.htmx else "studio/studio.html"
    whole = {} if request.htmx else gallery.context(request)
    return render(request, template, {**whole, **context, "visitor": request.visitor}, status=status)


def _parameters(request: HttpRequest, values: dict[str, str]) -> list[dict[str, Any]]:
    """The parameters of each generation. Takes a unit of the key's limit. Raises Problem."""
    body = {name: _read(name, text) for name, text in values.items()}
    try:
        each = GenerationIn.model_validate(body).parameters()
    except ValidationError as error:
        errors = [{"field": _field(item), "detail": explanations.of(item)} for item in error.errors()]
        raise Problem(422, errors[0]["detail"], errors=errors) from None
    charge(request)
    return each


def _field(error: ErrorDetails) -> str:
    """The field beside which an error stands."""
    return str(error["loc"][0]) if error["loc"] else WITHOUT_FIELD.get(error["type"], CALL)


def charge(request: HttpRequest) -> None:
    """Take a unit of the limit of the visitor's key. Raises Problem. An admin user's actions aren't counted."""
    if request.visitor.is_operator:
        return
    auth_result = ApiKey.objects.charge(request.auth)
    if not auth_result.is_admitted:
        state = auth_result.rate_limit_state
        if state is None:
            raise Problem(401, _("The key is not valid."))
        text = _("The key's limit of %(limit)s requests a minute is used up. Try again in %(seconds)s s.")
        raise Problem(429, text % {"limit": state.limit, "seconds": state.retry_after})


def _key(request: HttpRequest, values: dict[str, str]) -> str | None:
    """The form's key with a digest of its values: a form that was changed is another call."""
    call = request.POST.get(CALL, "")[:36]
    return (
        f"{call}-{sha256(json.dumps(values).encode()).hexdigest()[:32]}" if call.isascii() and call.isalnum() else None
    )


def _read(name: str, text: str) -> Any:
    """The value that a field contains. Text that is none is left for the schema to refuse."""
    if name == "labels":
        return labels.parse(text)
    try:
        return NUMBERS.get(name, str)(text)
    except ValueError:
        return text


def _shape(width: int, height: int) -> dict[str, float]:
    """A rectangle of these proportions within 24 x 24."""
    scale = 18 / max(width, height)
    w, h = width * scale, height * scale
    return {"x": round(12 - w / 2, 1), "y": round(12 - h / 2, 1), "width": round(w, 1), "height": round(h, 1)}
