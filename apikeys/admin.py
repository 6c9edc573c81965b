from datetime import timedelta

from django import forms
from django.contrib import admin, messages
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import slugify
from django.utils.timesince import timesince
from uuid_utils.compat import uuid7

from apikeys import chart, listing, states, usage_provider
from apikeys.audit import Actor, KeyEvent, Via
from apikeys.models import ApiKey
from apikeys.querysets import TransitionRefused
from lockngen.admin import ReadOnlyAdmin, SoftDeleteAdmin

CHART_DAYS = 30
CHANGE_PAGE = "admin:apikeys_apikey_change"
GRACES = [(0, "It stops working at once"), (1, "1 hour"), (24, "1 day"), (24 * 7, "1 week")]  # hours
SETTINGS = ("name", "rate_limit", "max_pending", "priority", "expires_at")
LINKS = ("rotated_from_key", "replaced_by_key")
DATES = ("created_at", "revoked_at", "deleted_at")


def caller(request: HttpRequest) -> Actor:
    return Actor(Via.ADMIN, request.user.get_username(), request.user.pk)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in (*states.USABLE, *reversed(states.UNUSABLE))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(state=self.value()) if self.value() else queryset


class KeyForm(forms.ModelForm):
    def clean_expires_at(self):
        expires_at = self.cleaned_data["expires_at"]
        if expires_at and "expires_at" in self.changed_data and expires_at <= timezone.now():
            raise forms.ValidationError("This time is in the past. Choose a later one, or revoke the key.")
        return expires_at


class NewKeyForm(KeyForm):
    # The key's id, chosen in advance, so that submitting the form twice does not create a second key.
    once = forms.UUIDField(initial=uuid7, widget=forms.HiddenInput)


class RevokeForm(forms.Form):
    cancel_pending = forms.BooleanField(
        required=False, label="Also cancel pending generations", help_text="Renders in progress are finished."
    )


class RotateForm(forms.Form):
    grace = forms.TypedChoiceField(
        label="How long the old key still works", choices=GRACES, coerce=int, widget=forms.RadioSelect
    )


@admin.register(ApiKey)
class ApiKeyAdmin(SoftDeleteAdmin):
    list_display = ("name", "prefix", "state_label", "limit", "used", "expires_at", "created_at")
    list_filter = (StateFilter,)
    form = KeyForm
    actions = ("rotate", "deactivate", "activate", "revoke", "restore", "delete_selected")
    search_help_text = "Part of the name, start of the token, or id."
    deletion_note = (
        "The key is rejected from the next request on. It can be restored here and then works as before, unless it is "
        "revoked or has expired. Its generations are kept."
    )
    readonly_fields = ("state_label", "limit", "used", "usage", "id", "prefix", *DATES, *LINKS, "activity", "events")
    fieldsets = (
        (None, {"fields": ("state_label", *SETTINGS, "is_active")}),
        ("Use", {"fields": ("used", "limit", "usage", "activity")}),
        ("History", {"fields": ("events",)}),
        ("Details", {"fields": ("id", "prefix", *DATES, *LINKS)}),
    )
    add_fieldsets = ((None, {"fields": (*SETTINGS, "once")}),)

    class Media:
        css = {"all": ("apikeys/admin.css",)}

    # What is shown

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).with_state()

    def get_changelist_instance(self, request: HttpRequest):
        changelist = super().get_changelist_instance(request)
        changelist.result_list = listing.with_usage(changelist.result_list)
        return changelist

    @admin.display(description="state")
    def state_label(self, key: ApiKey) -> str:
        return format_html('<span class="key-state key-state-{}">{}</span>', slugify(key.state), key.state)

    @admin.display(description="requests a minute", ordering="rate_limit")
    def limit(self, key: ApiKey) -> str:
        if not key.rate_limit:
            return "no limit"
        if key.requests_last_minute is None:
            return str(key.rate_limit)
        html = '<span class="key-limit"><meter max="{1}" value="{0}"></meter> {0} of {1}</span>'
        return format_html(html, key.requests_last_minute, key.rate_limit)

    @admin.display(description="last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> str:
        if key.last_used_at is None:
            return "never"
        is_recent = timezone.now() - key.last_used_at < timedelta(minutes=1)
        ago = "just now" if is_recent else f"{timesince(key.last_used_at, depth=1)} ago"
        return format_html('<span title="{} UTC">{}</span>', listing.minute(key.last_used_at), ago)

    @admin.display(description="used for")
    def usage(self, key: ApiKey) -> str:
        provider = usage_provider.get_provider()
        return format_html('<a href="{}">{}</a>', provider.admin_address(key), provider.noun)

    @admin.display(description="rotated from")
    def rotated_from_key(self, key: ApiKey) -> str:
        return link(key.rotated_from)

    @admin.display(description="replaced by")
    def replaced_by_key(self, key: ApiKey) -> str:
        return link(key.successor)

    @admin.display(description="by day")
    def activity(self, key: ApiKey) -> str:
        provider = usage_provider.get_provider()
        return chart.by_day(provider.by_day(key, CHART_DAYS), CHART_DAYS, provider.noun)

    @admin.display(description="newest first")
    def events(self, key: ApiKey) -> str:
        return render_to_string("apikeys/events.html", {"events": listing.newest_events(key)})

    # A new key

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None):
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs):
        if obj is None:
            kwargs["form"] = NewKeyForm
        return super().get_form(request, obj, change, **kwargs)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict | None = None) -> HttpResponse:
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        try:
            return super().add_view(request, form_url, {**only_save, **(extra_context or {})})
        except IntegrityError:
            key = ApiKey.all_objects.filter(pk=request.POST.get("once")).first()
            if key is None:
                raise
            message = f"{key} already exists, and its token was shown before. If you don't have it, rotate the key."
            self.message_user(request, message, messages.WARNING)
            return redirect(CHANGE_PAGE, key.pk)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm, change: bool) -> None:
        if change:
            obj.change(by=caller(request), **{name: form.cleaned_data[name] for name in form.changed_data})
            return
        fields = dict(form.cleaned_data)
        key, obj.token = ApiKey.objects.issue(id=fields.pop("once"), by=caller(request), **fields)
        obj.__dict__.update(key.__dict__)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show_token(request, obj, obj.token, title="Key created")

    def _show_token(self, request: HttpRequest, key: ApiKey, token: str, **context) -> HttpResponse:
        """The only page that shows the token. It is in the response only, not in a message, session or redirect."""
        response = self._page(request, "token", {"key": key, "token": token, **context})
        response["Cache-Control"] = "no-store"
        return response

    # Actions of the list, and of the buttons on a key's page

    @admin.action(description="Rotate the selected API key", permissions=["rotate"])
    def rotate(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        if len(queryset) != 1:
            self.message_user(request, "Rotate one key at a time, as its token is shown once.", messages.ERROR)
            return None
        (key,) = queryset
        form = RotateForm(request.POST if "post" in request.POST else None, initial={"grace": 1})
        if not form.is_valid():
            consequence = "A new key with the same settings replaces this one and works at once."
            return self._confirm(request, queryset, form, "rotate", "Rotate the key", consequence)
        try:
            new, token = key.rotate(grace=timedelta(hours=form.cleaned_data["grace"]), by=caller(request))
        except TransitionRefused as refused:
            self.message_user(request, str(refused), messages.ERROR)
            return None
        return self._show_token(request, new, token, old=key, title="Key rotated")

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and self.has_add_permission(request)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        form = RevokeForm(request.POST if "post" in request.POST else None)
        if not form.is_valid():
            consequence = "Revoking is permanent and takes effect on the next request."
            return self._confirm(request, queryset, form, "revoke", "Revoke permanently", consequence)
        count = queryset.revoke(by=caller(request), **form.cleaned_data)
        self.message_user(request, f"Revoked: {count}.", messages.SUCCESS)
        return None

    @admin.action(description="Deactivate selected API keys", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.message_user(request, f"Deactivated: {queryset.deactivate(by=caller(request))}.", messages.SUCCESS)

    @admin.action(description="Activate selected API keys", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.message_user(request, f"Activated: {queryset.activate(by=caller(request))}.", messages.SUCCESS)

    @admin.action(description="Restore selected API keys", permissions=["delete"])
    def restore(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.message_user(request, f"Restored: {queryset.restore(by=caller(request))}.", messages.SUCCESS)

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        obj.delete(by=caller(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        queryset.delete(by=caller(request))

    def _confirm(
        self, request: HttpRequest, keys: QuerySet, form: forms.Form, action: str, title: str, consequence: str
    ):
        context = {"keys": keys, "form": form, "action": action, "title": title, "consequence": consequence}
        context |= {"back_to": request.POST.get("back_to", ""), "return_url": self.return_url(request)}
        return self._page(request, "confirm", context)

    def _page(self, request: HttpRequest, name: str, context: dict) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **context}
        return TemplateResponse(request, f"admin/apikeys/apikey/{name}.html", context)


@admin.register(KeyEvent)
class KeyEventAdmin(ReadOnlyAdmin):
    """The audit log of all keys. It is read-only, which the database enforces too."""

    list_display = ("at", "action", "name", "prefix", "by", "changed")
    list_filter = ("action", "via")
    ordering = ("-id",)

    @admin.display(description="changes")
    def changed(self, event: KeyEvent) -> str:
        return event.summary


def link(key: ApiKey | None) -> str:
    if key is None:
        return "–"
    return format_html('<a href="{}">{}</a>', reverse(CHANGE_PAGE, args=[key.pk]), key)
