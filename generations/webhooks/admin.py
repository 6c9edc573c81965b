"""Webhooks in the admin: what is sent, the dead letters, and the secrets, which are shown only on request."""

from collections.abc import Callable

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
from lockngen.admin import ReadOnlyAdmin


class WebhookAdmin(ReadOnlyAdmin):
    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def log(self, request: HttpRequest, rows: list, message: str) -> None:
        LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, change_message=message)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(WebhookAdmin):
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
class WebhookSecretAdmin(WebhookAdmin):
    list_display = ("api_key", "created_at", "rotated_at")
    list_select_related = ("api_key",)
    ordering = ("-created_at",)
    fields = ("api_key", "created_at", "rotated_at")
    actions = ("show", "rotate")

    @admin.action(description="Show the selected secret", permissions=["act"])
    def show(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self._page(request, queryset, "Webhook secret", "Shown.")

    @admin.action(description="Replace the selected secret", permissions=["act"])
    def rotate(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self._page(request, queryset, "Webhook secret replaced", "Replaced.", WebhookSecret.rotate)

    def _page(
        self,
        request: HttpRequest,
        queryset: QuerySet,
        title: str,
        logged: str,
        change: Callable[[WebhookSecret], None] = lambda secret: None,
    ) -> HttpResponse | None:
        """The only page that shows a secret. It is in the response alone, not in a message or a session."""
        if len(queryset) != 1:
            self.message_user(request, "Select one secret at a time.", messages.ERROR)
            return None
        (secret,) = queryset
        change(secret)
        self.log(request, [secret], logged)
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        context |= {"secret": secret, "title": title}
        response = TemplateResponse(request, "admin/generations/webhooksecret/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response
