"""Webhooks in the admin: what is sent, the dead letters, and the secrets, which are shown only on request."""

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from generations.webhooks import addresses
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.signature import WebhookSecret
from lockngen.admin import CappedPaginator


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows are changed by actions alone."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def log(self, request: HttpRequest, rows: list, message: str) -> None:
        LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, change_message=message)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "event", "generation_link", "receiver", "state", "attempts", "last_error", "ended_at")
    list_filter = ("state", "event")
    list_select_related = ("generation__submission",)
    ordering = ("-created_at",)
    actions = ("send_again",)
    fields = (
        *("id", "event", "generation_link", "receiver", "state", "attempts", "next_attempt_at"),
        *("last_status", "last_error", "created_at", "ended_at"),
    )

    @admin.action(description="Send selected webhooks again", permissions=["act"])
    def send_again(self, request: HttpRequest, queryset: QuerySet) -> None:
        deliveries = list(queryset)
        count = WebhookDelivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).send_again()
        self.log(request, deliveries, "Sent again.")
        self.message_user(request, f"Will be sent again: {count}.", messages.SUCCESS)

    @admin.display(description="generation")
    def generation_link(self, delivery: WebhookDelivery) -> str:
        address = reverse("admin:generations_generation_change", args=[delivery.generation_id])
        return format_html('<a href="{}">{}</a>', address, delivery.generation_id)

    @admin.display
    def receiver(self, delivery: WebhookDelivery) -> str:
        """Without path and query, which may contain a secret."""
        return addresses.origin(addresses.parse(delivery.generation.submission.webhook))


@admin.register(WebhookSecret)
class WebhookSecretAdmin(ReadOnlyAdmin):
    list_display = ("api_key", "created_at", "rotated_at")
    list_select_related = ("api_key",)
    ordering = ("-created_at",)
    fields = ("api_key", "created_at", "rotated_at")
    actions = ("show", "rotate")

    @admin.action(description="Show the selected secret", permissions=["act"])
    def show(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        if len(queryset) != 1:
            self.message_user(request, "Show one secret at a time.", messages.ERROR)
            return None
        (secret,) = queryset
        self.log(request, [secret], "Shown.")
        return self._page(request, secret, "Webhook secret")

    @admin.action(description="Replace the selected secret", permissions=["act"])
    def rotate(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        if len(queryset) != 1:
            self.message_user(request, "Replace one secret at a time.", messages.ERROR)
            return None
        (secret,) = queryset
        secret.rotate()
        self.log(request, [secret], "Replaced.")
        return self._page(request, secret, "Webhook secret replaced")

    def _page(self, request: HttpRequest, secret: WebhookSecret, title: str) -> HttpResponse:
        """The only page that shows a secret. It is in the response alone, not in a message or a session."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        context |= {"secret": secret, "title": title}
        response = TemplateResponse(request, "admin/generations/webhooksecret/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response
