"""AUTOMATIC1111's API under `/sdapi/v1`: txt2img, and what its clients read before they call it."""

from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from pydantic import Field

from apikeys import free_calls
from apikeys.authentication import BasicPassword
from generations import renderers
from generations.api import creation, limits, presenters
from generations.api.schemas import known_model
from generations.dialects import models
from generations.dialects.automatic1111 import progress
from generations.dialects.automatic1111.chosen_model import ChosenModel
from generations.dialects.automatic1111.txt2img import LABELS, Call, Txt2Img
from generations.images.infotext import SAMPLER
from generations.models import MODEL_LENGTH, Generation
from generations.renderers.base import DEFAULT_MODEL
from lockngen.database import retry

PATHS = r"/sdapi(/|$)"
HOW_TO_AUTHENTICATE = "A valid API key is needed: send it as the password of HTTP Basic, with any user name."

ABSENT = (
    *("latent-upscale-modes", "sd-vae", "sd-modules", "loras", "hypernetworks", "face-restorers"),
    *("realesrgan-models", "prompt-styles", "script-info", "extensions"),
)
# The model determines all of this, or it doesn't exist here.
STATIC = {
    "samplers": [{"name": SAMPLER, "aliases": [], "options": {}}],
    "schedulers": [
        {"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1, "need_inner_model": False}
    ],
    "upscalers": [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 1}],
    "embeddings": {"loaded": {}, "skipped": {}},
    "scripts": {"txt2img": [], "img2img": []},
    "memory": {"ram": {}, "cuda": {}},
    "cmd-flags": {},
    **{name: [] for name in ABSENT},
}

router = Router(auth=BasicPassword())


class OptionsIn(Schema):
    """The option that exists here. Others are ignored: clients send back all that they have read."""

    sd_model_checkpoint: Annotated[str, Field(max_length=MODEL_LENGTH)] | None = None


@router.post("txt2img")
def txt2img(request: HttpRequest, body: Txt2Img) -> HttpResponse:
    """Create the generations, and respond with their images when they have ended."""
    with limits.wait(request.auth) as slot:
        created = creation.create(request, lambda: body.parameters_for(_chosen_model(request)))
        return Call(body, created).held(request, slot)


@router.get("sd-models")
def sd_models(request: HttpRequest) -> HttpResponse:
    absent = dict.fromkeys(("hash", "sha256", "config"))
    names = renderers.current_pool().available()
    return presenters.response([{"title": name, "model_name": name, "filename": name, **absent} for name in names])


@router.get("options")
def options(request: HttpRequest) -> HttpResponse:
    default = renderers.current_pool().resolve_model(DEFAULT_MODEL)
    return presenters.response(
        {
            "sd_model_checkpoint": _chosen_model(request) or default,
            "sd_vae": "Automatic",
            "samples_format": "png",
            "CLIP_stop_at_last_layers": 1,
        }
    )


@router.post("options")
def set_options(request: HttpRequest, body: OptionsIn) -> HttpResponse:
    """Choose the model of this key's calls that name none. An empty text chooses the default."""
    if body.sd_model_checkpoint is not None:
        name = body.sd_model_checkpoint or DEFAULT_MODEL
        known_model(renderers.current_pool(), models.resolve(name), field="sd_model_checkpoint")
        retry.idempotent(ChosenModel.choose)(request.auth, name)
    return presenters.response(None)


@router.get("progress", auth=BasicPassword(is_free=True))
@retry.idempotent
def show_progress(request: HttpRequest, skip_current_image: bool = False) -> HttpResponse:
    """The progress of the key's own running call. The rate limit doesn't count this call."""
    free_calls.count(request.auth)
    return presenters.response(progress.of_call(progress.running_call(request.auth), not skip_current_image))


@router.post("interrupt")
@retry.idempotent
def interrupt(request: HttpRequest) -> HttpResponse:
    """Cancel the key's own unfinished txt2img calls. Those of other interfaces go on."""
    Generation.objects.owned_by(request.auth).labelled(LABELS).cancel()
    return presenters.response({})


@router.post("refresh-checkpoints")
def refresh_checkpoints(request: HttpRequest) -> HttpResponse:
    """Does nothing: the models are refreshed in the background."""
    return presenters.response(None)


def _add_static(name: str, content: Any) -> None:
    router.get(name, operation_id=name)(lambda request: presenters.response(content))


for name, content in STATIC.items():
    _add_static(name, content)


@retry.idempotent
def _chosen_model(request: HttpRequest) -> str | None:
    chosen = ChosenModel.of(request.auth)
    return None if chosen == DEFAULT_MODEL else chosen


def as_error(answer: HttpResponse, problem: dict[str, Any]) -> HttpResponse:
    """FastAPI's error for invalid fields, and otherwise AUTOMATIC1111's."""
    status, detail, headers = problem["status"], problem["detail"], {}
    if status == HTTPStatus.UNAUTHORIZED:
        detail, headers = HOW_TO_AUTHENTICATE, {"WWW-Authenticate": 'Basic realm="LockN Gen"'}
    shown = {"error": problem["title"], "detail": detail, "body": "", "errors": detail}
    if errors := problem.get("errors"):
        located = [(["body", *error["field"].split(".")], error["detail"]) for error in errors]
        shown = {"detail": [{"loc": place, "msg": what, "type": "value_error"} for place, what in located]}
    return presenters.response(shown, status, headers)
