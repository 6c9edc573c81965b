from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from procrastinate.contrib.django import admin as queue_admin

from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused
from generations import monitoring, renderers
from generations.images import downloads
from generations.models import Generation
from generations.querysets import QueueFull
from generations.renderers.base import DEFAULT_MODEL
from generations.webhooks import admin as webhooks_admin  # noqa: F401  registers its models
from lockngen.admin import SoftDeleteAdmin, TextFilter

CHANGE_PAGE = "admin:generations_generation_change"
MAX_KEYS = 100  # matched by one search
MAX_SUBMITTED = 50
STATUS_REFRESHED_EVERY = 5  # seconds

# Its actions would end jobs without updating their generations.
admin.site.unregister(queue_admin.models.ProcrastinateJob)


def keys_like(text: str) -> list[UUID]:
    """Keys, live or deleted, by part of the name, start of the token, or id."""
    with suppress(ValueError):
        return [UUID(text)]
    wanted = Q(name__icontains=text) | Q(prefix__startswith=text)
    return list(ApiKey.all_objects.filter(wanted).order_by("-id").values_list("pk", flat=True)[:MAX_KEYS])


class KeyFilter(TextFilter):
    title = "API key"
    parameter_name = "key"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(api_key__in=keys_like(self.value().strip())) if self.value() else queryset


class ModelFilter(TextFilter):
    title = "model"
    parameter_name = "model"

    @property
    def suggestions(self) -> list[str]:
        return sorted({DEFAULT_MODEL, *renderers.get_pool().models})

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(model=self.value().strip()) if self.value() else queryset


class CreatedFilter(admin.SimpleListFilter):
    title = "creation"
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("1", "Past hour"), ("24", "Past day"), ("168", "Past 7 days"), ("720", "Past 30 days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        hours = dict(self.lookup_choices).get(self.value()) and int(self.value())
        return queryset.created_since(timezone.now() - timedelta(hours=hours)) if hours else queryset


@admin.register(Generation)
class GenerationAdmin(SoftDeleteAdmin):
    list_display = ("thumbnail", "short_prompt", "status", "key", "model", "size", "created_at", "duration", "deletion")
    list_display_links = ("thumbnail", "short_prompt")
    list_filter = (*SoftDeleteAdmin.list_filter, "status", CreatedFilter, KeyFilter, ModelFilter)
    actions = ("cancel", "submit_again", "restore", "delete_selected")
    search_help_text = "Words of a prompt, the name of a key or the start of its token, or an id."
    deletion_note = (
        "It is hidden from the API and can be restored here, with its image, until RETENTION_DELETED has passed. An "
        "unfinished generation is cancelled, and restoring it does not queue it again."
    )
    list_select_related = ("api_key",)
    list_per_page = 50
    fieldsets = (
        (None, {"fields": ("full_image", "status", "prompt", "negative_prompt", "error_message")}),
        ("Parameters", {"fields": ("model", "width", "height", "steps", "guidance", "seed")}),
        ("History", {"fields": ("id", "api_key", "created_at", "started_at", "completed_at", "attempts", "requeues")}),
        ("Image", {"fields": ("pixels", "image_bytes", "image_type", "image_sha256", "image_path", "thumbnail_path")}),
        ("Deletion", {"fields": ("deletion", "deleted_at")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Generation | None = None) -> bool:
        return False  # a stored request and its result are never edited

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generations.change_generation")

    def has_submit_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generations.add_generation")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Search by indexed columns: the id, the keys with this name or token prefix, the words of the prompt."""
        if not (term := search_term.strip()):
            return queryset, False
        with suppress(ValueError):
            return queryset.filter(pk=UUID(term)), False
        words = Generation.all_objects.search(term).values("pk")
        return queryset.filter(Q(pk__in=words) | Q(api_key__in=keys_like(term))), False

    @admin.action(description="Cancel selected generations", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet) -> None:
        unfinished = list(queryset.unfinished())
        count = Generation.all_objects.filter(pk__in=[generation.pk for generation in unfinished]).cancel()
        self.log_action_on(request, unfinished, "Cancelled.")
        self.message_user(request, f"Cancelled: {count}.", messages.SUCCESS)

    @admin.action(description="Submit selected generations again", permissions=["submit"])
    def submit_again(self, request: HttpRequest, queryset: QuerySet) -> None:
        if queryset.order_by()[MAX_SUBMITTED:].exists():
            self.message_user(request, f"At most {MAX_SUBMITTED} generations can be submitted at once.", messages.ERROR)
            return
        for generation in queryset.select_related("api_key"):
            try:
                again = generation.submit_again()
            except (TransitionRefused, QueueFull) as error:
                self.message_user(request, f"{generation.id}: {error}", messages.ERROR)
                continue
            self.log_action_on(request, [generation], f"Submitted again as {again.id}.")
            link = format_html('<a href="{}">{}</a>', reverse(CHANGE_PAGE, args=[again.pk]), again.pk)
            self.message_user(request, format_html("Submitted again as {}.", link), messages.SUCCESS)

    def get_urls(self):
        image = self.admin_site.admin_view(self.image)
        return [path("<uuid:pk>/image/", image, name="generations_generation_image"), *super().get_urls()]

    def image(self, request: HttpRequest, pk) -> HttpResponse:
        """The image of any key's generation, for users with the view permission."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        size = "thumb" if request.GET.get("size") == "thumb" else "full"
        generation = get_object_or_404(Generation.all_objects, pk=pk)
        response = downloads.response(request, generation, size)
        if "download" in request.GET and response.has_header("Content-Disposition"):
            name = f"{generation.id}.{generation.image_path.rpartition('.')[2]}"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    @admin.display(description="image")
    def thumbnail(self, generation: Generation) -> str:
        return self._image_tag(generation, "small", "?size=thumb")

    @admin.display(description="image")
    def full_image(self, generation: Generation) -> str:
        return self._image_tag(generation, "large")

    @admin.display(description="prompt")
    def short_prompt(self, generation: Generation) -> str:
        return Truncator(generation.prompt).chars(80)

    @admin.display(description="API key")
    def key(self, generation: Generation) -> str:
        address = reverse("admin:apikeys_apikey_change", args=[generation.api_key_id])
        return format_html('<a href="{}">{}</a>', address, generation.api_key.name)

    @admin.display
    def size(self, generation: Generation) -> str:
        return f"{generation.width}×{generation.height}"

    @admin.display(description="image size")
    def pixels(self, generation: Generation) -> str:
        return f"{generation.image_width}×{generation.image_height}" if generation.image_width else "–"

    @admin.display(description="seconds")
    def duration(self, generation: Generation) -> str:
        """Of the last attempt."""
        if not (generation.started_at and generation.completed_at):
            return "–"
        return f"{(generation.completed_at - generation.started_at).total_seconds():.1f}"

    def _image_tag(self, generation: Generation, size: str, query: str = "") -> str:
        if generation.image_path is None:
            return "–"
        return format_html(
            '<img src="{}{}" alt="{}" loading="lazy" class="image image-{}">',
            reverse("admin:generations_generation_image", args=[generation.pk]),
            query,
            Truncator(generation.prompt).chars(80),
            size,
        )


def status(request: HttpRequest) -> HttpResponse:
    """A page with the figures of `manage.py status` that refreshes itself."""
    if not request.user.has_perm("generations.view_generation"):
        raise PermissionDenied
    page = {"title": "Status", "facts": monitoring.gather(), "refresh": STATUS_REFRESHED_EVERY}
    return render(request, "admin/status.html", {**admin.site.each_context(request), **page})
