"""The prompt form: what a visitor chooses, and the generations that are made from it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from pydantic import ValidationError

from apikeys.authentication import limited
from apikeys.models import ApiKey
from generations import renderers
from generations.api import creation
from generations.api.schemas import GenerationIn
from generations.renderers.base import DEFAULT_MODEL
from generations.studio import visitor
from lockngen.web.problems import Problem

NUMBERS = {"width": int, "height": int, "steps": int, "guidance": float, "seed": int, "n": int, "quality": int}
TEXTS = ("prompt", "negative_prompt", "model", "output_format")
SIZES = ((512, 512), (768, 512), (512, 768), (1024, 1024), (1344, 768), (768, 1344))


def context(values: dict[str, Any] | None = None, errors: dict[str, str] | None = None) -> dict[str, Any]:
    """What the form's template needs: the models that can be rendered, the values and the errors beside them."""
    pool = renderers.current_pool()
    unavailable, default = pool.unavailable(), pool.resolve_model(DEFAULT_MODEL)
    models = [model for name, model in pool.models.items() if name not in unavailable]
    return {"models": models, "default": default, "sizes": SIZES, "values": values or {}, "errors": errors or {}}


@require_POST
@visitor.signed_in
def create(request: HttpRequest) -> HttpResponse:
    """Store the generations of the form, and show it again: with the same values, or with the errors."""
    values = {name: request.POST[name] for name in (*TEXTS, *NUMBERS) if request.POST.get(name)}
    try:
        creation.create(request, lambda: _parameters(request, values), values)
    except ValidationError as error:
        errors = {str(item["loc"][0]) if item["loc"] else "": _message(item) for item in error.errors()}
    except Problem as problem:
        fields = problem.members.get("errors") or [{"field": "", "detail": problem.detail}]
        errors = {item["field"]: item["detail"] for item in fields}
    else:
        response = render(request, "studio/prompt.html", context(values))
        response["HX-Trigger"] = "created"
        return response
    return render(request, "studio/prompt.html", context(values, errors), status=422)


def _parameters(request: HttpRequest, values: dict[str, str]) -> list[dict[str, Any]]:
    body = GenerationIn.model_validate({name: _number(name, text) for name, text in values.items()})
    each = body.parameters()
    if not request.visitor.is_operator:
        auth_result = ApiKey.objects.charge(request.auth)
        if not auth_result.is_admitted:
            raise limited(auth_result) if auth_result.rate_limit_state else Problem(401, _("The key is not valid."))
    return each


def _number(name: str, text: str) -> Any:
    """The number that a field expects. Other text is left for the schema to refuse."""
    try:
        return NUMBERS.get(name, str)(text)
    except ValueError:
        return text


def _message(item: dict[str, Any]) -> str:
    return item["msg"].removeprefix("Value error, ")
