from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from procrastinate.contrib.django.models import ProcrastinateJob

from generations import downloads, overview
from generations.models import Generation
from lockngen.admin import SoftDeleteAdmin

STATUS_REFRESHED_EVERY = 5  # seconds

# Its actions end jobs behind their generations' backs.
admin.site.unregister(ProcrastinateJob)


@admin.register(Generation)
class GenerationAdmin(SoftDeleteAdmin):
    list_display = ("thumbnail", "short_prompt", "status", "key", "size", "created_at", "duration", "is_deleted")
    list_display_links = ("thumbnail", "short_prompt")
    list_filter = (*SoftDeleteAdmin.list_filter, "status")
    list_select_related = ("api_key",)
    list_per_page = 50
    prefix_field = "api_key__prefix"
    fieldsets = (
        (None, {"fields": ("picture", "status", "prompt", "negative_prompt", "error_message")}),
        ("Parameters", {"fields": ("model", "width", "height", "steps", "guidance", "seed")}),
        ("Life", {"fields": ("id", "api_key", "created_at", "started_at", "completed_at", "attempts", "releases")}),
        ("Image", {"fields": ("pixels", "image_bytes", "image_type", "image_sha256", "image_path", "thumbnail_path")}),
        ("Deletion", {"fields": ("is_deleted", "deleted_at")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Generation | None = None) -> bool:
        return False  # what was asked for and what came of it is history

    def get_urls(self):
        image = self.admin_site.admin_view(self.image)
        return [path("<uuid:pk>/image/", image, name="generations_generation_image"), *super().get_urls()]

    def image(self, request: HttpRequest, pk) -> HttpResponse:
        """The image for those who may look at generations here, whoever's it is."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        size = "thumb" if request.GET.get("size") == "thumb" else "full"
        return downloads.response(request, get_object_or_404(Generation.all_objects, pk=pk), size)

    @admin.display(description="image")
    def thumbnail(self, generation: Generation) -> str:
        return self._picture(generation, 72, "?size=thumb")

    @admin.display(description="image")
    def picture(self, generation: Generation) -> str:
        return self._picture(generation, 512)

    @admin.display(description="prompt")
    def short_prompt(self, generation: Generation) -> str:
        return Truncator(generation.prompt).chars(80)

    @admin.display(description="API key")
    def key(self, generation: Generation) -> str:
        return generation.api_key.name

    @admin.display
    def size(self, generation: Generation) -> str:
        return f"{generation.width}×{generation.height}"

    @admin.display(description="image size")
    def pixels(self, generation: Generation) -> str:
        return f"{generation.image_width}×{generation.image_height}" if generation.image_width else "–"

    @admin.display(description="seconds")
    def duration(self, generation: Generation) -> str:
        """From the start of the last attempt to the end."""
        if not (generation.started_at and generation.completed_at):
            return "–"
        return f"{(generation.completed_at - generation.started_at).total_seconds():.1f}"

    def _picture(self, generation: Generation, pixels: int, query: str = "") -> str:
        if generation.image_path is None:
            return "–"
        return format_html(
            '<img src="{}{}" alt="" loading="lazy" style="max-width: {}px; max-height: {}px; border-radius: 4px">',
            reverse("admin:generations_generation_image", args=[generation.pk]),
            query,
            pixels,
            pixels,
        )


def status(request: HttpRequest) -> HttpResponse:
    """What `manage.py status` tells, as a page that renews itself."""
    page = {"title": "Status", "facts": overview.gather(), "refresh": STATUS_REFRESHED_EVERY}
    return render(request, "admin/status.html", {**admin.site.each_context(request), **page})
