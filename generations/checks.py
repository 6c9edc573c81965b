from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core import checks
from pydantic import TypeAdapter, ValidationError

from generations import renderers
from generations.api.schemas import Guidance, Pixels, Steps
from generations.renderers.base import DEFAULT_MODEL
from generations.renderers.openai import address
from generations.webhooks import addresses as webhook_addresses
from lockngen.plain import plain

LIMITS = {
    "width": TypeAdapter(Pixels),
    "height": TypeAdapter(Pixels),
    "steps": TypeAdapter(Steps),
    "guidance": TypeAdapter(Guidance),
}


@checks.register
def renderers_are_known(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    hint = "Set it to sketch: or to addresses such as comfyui://host:8188 and openai://host:8000, separated by commas."
    for what in _bad_renderers(settings.RENDERER_URL):
        yield checks.Error(f"RENDERER_URL: {what}", hint=hint, id="generations.E001")


def _bad_renderers(urls: list[str]) -> Iterator[str]:
    if not urls:
        yield "it names no renderer."
    for number, url in enumerate(urls, 1):
        which = f"number {number}: " if len(urls) > 1 else ""  # not the URL, which may contain a secret
        if url in urls[: number - 1]:
            yield f"{which}it is listed twice; to give it more renders at once, set its option concurrency."
        try:
            renderer = renderers.from_url(url)
        except ValueError as error:
            yield f"{which}{error}"
        else:
            for error in _beyond_limits(getattr(renderer, "defaults", {})):
                yield f"{which}the option {error}"


@checks.register
def workflows_are_whole(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    catalogue, folder = renderers.catalogue(), settings.WORKFLOWS_DIR
    errors = [] if not folder or Path(folder).is_dir() else [f"WORKFLOWS_DIR: the folder {folder} does not exist"]
    hint = "Correct the file or remove it from WORKFLOWS_DIR; docs/operations.md has an example."
    errors += [
        f"workflow {name}, lockngen.{error}"
        for name, workflow in catalogue.workflows.items()
        for error in _beyond_limits(workflow.model.defaults)
    ]
    for error in errors:
        yield checks.Error(error, hint=hint, id="generations.E002")
    for error in catalogue.errors:  # Info lets processes start and serve the other models
        yield checks.Info(f"{error}.", hint=f"{hint} The model isn't served.", id="generations.I001")
    for warning in catalogue.warnings:
        yield checks.Info(f"{warning}.", id="generations.I002")


@checks.register
def default_workflow_is_there(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    names = list(renderers.catalogue().workflows)
    if settings.DEFAULT_WORKFLOW not in names:
        yield checks.Error(
            f"DEFAULT_WORKFLOW is {settings.DEFAULT_WORKFLOW!r}, but no workflow has that name.",
            hint=f"Set it to one of {', '.join(names)}.",
            id="generations.E003",
        )


@checks.register
def aliases_name_models(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if any(_bad_renderers(settings.RENDERER_URL)):
        return
    models = {DEFAULT_MODEL, *renderers.get_pool().models}
    for alias, model in settings.MODEL_ALIASES.items():
        if model not in models:  # Info, as the other models are served
            yield checks.Info(
                f"MODEL_ALIASES: {alias} stands for {model}, which is no model.",
                hint=f"Valid models: {', '.join(sorted(models))}.",
                id="generations.I006",
            )


@checks.register(deploy=True)  # only with check --deploy, as it connects to the renderers
def models_are_available(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    hint = "Install what is missing, or change the workflow or DEFAULT_WORKFLOW."
    for model, reason in renderers.current_pool().unavailable().items():
        yield checks.Info(f"{model}: {reason}.", hint=hint, id="generations.I003")


@checks.register
def authorizations_fit_a_header(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    hints = {
        "COMFYUI_AUTHORIZATION": "Set it to the whole value, such as 'Bearer …' or 'Basic …', in one line of ASCII.",
        "OPENAI_RENDERER_KEY": "Set it to a key, or to host=key pairs separated by commas, in one line of ASCII.",
    }
    for name, hint in hints.items():
        value = getattr(settings, name)  # a secret, so the message doesn't repeat it
        if not (value.isascii() and value.isprintable()):
            error = f"{name} contains characters that can't be sent in a header."
            yield checks.Error(error, hint=hint, id="generations.E004")


@checks.register
def keys_have_a_renderer(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    hosts = set()
    for url in settings.RENDERER_URL:
        with suppress(ValueError):  # another renderer's
            hosts.update(address.hosts(address.parse(url).location))
    for host in address.keys_by_host(settings.OPENAI_RENDERER_KEY).keys() - hosts:
        yield checks.Info(
            f"OPENAI_RENDERER_KEY has a key for {plain(host) or 'all'}, but RENDERER_URL has no such openai:// server.",
            hint="Write the host, with or without its port, as in RENDERER_URL.",
            id="generations.I005",
        )


@checks.register
def webhook_hosts_are_hosts(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    hint = "List names, addresses and networks, such as n8n,127.0.0.1,10.0.0.0/8, without scheme, port and path."
    for entry in settings.WEBHOOK_ALLOWED_HOSTS:
        if not webhook_addresses.is_entry(entry):
            error = f"WEBHOOK_ALLOWED_HOSTS: {entry!r} is neither a host name nor an address or a network."
            yield checks.Error(error, hint=hint, id="generations.E005")


def _beyond_limits(defaults: Mapping[str, int | float]) -> Iterator[str]:
    """Errors of defaults that exceed the limits of the API."""
    for field, value in defaults.items():
        try:
            LIMITS[field].validate_python(value)
        except ValidationError as error:
            yield f"{field}: {error.errors()[0]['msg']}"
