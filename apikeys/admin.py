from django.contrib import admin
from django.http import HttpRequest

from apikeys.models import ApiKey
from lockngen.admin import SoftDeleteAdmin


@admin.register(ApiKey)
class ApiKeyAdmin(SoftDeleteAdmin):
    list_display = ("name", "prefix", "rate_limit", "is_active", "created_at", "last_used_at", "is_deleted")
    list_filter = (*SoftDeleteAdmin.list_filter, "is_active")
    readonly_fields = ("id", "prefix", "created_at", "last_used_at", "revoked_at", "is_deleted", "deleted_at")
    fieldsets = (
        (None, {"fields": ("name", "rate_limit", "max_pending", "priority", "is_active", "expires_at")}),
        ("State", {"fields": readonly_fields}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a token is shown once, by the command that makes it: manage.py apikey create
