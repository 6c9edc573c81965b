"""The admin base classes of read-only and of soft-deleted models."""

from functools import cached_property
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

COUNTED_ROWS = 10_000


class CappedPaginator(Paginator):
    """Counts up to COUNTED_ROWS: counting millions of rows takes longer than reading one page of them."""

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:COUNTED_ROWS].count()


class LargeTableAdmin(admin.ModelAdmin):
    """Counts no whole table."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count every row for every filter

    def get_changelist_instance(self, request: HttpRequest):
        try:
            return super().get_changelist_instance(request)
        except (DataError, OverflowError, ValueError):  # a filter has a NUL, or a year beyond those of a datetime
            raise IncorrectLookupParameters from None


class ReadOnlyAdmin(LargeTableAdmin):
    """Shows rows, which actions alone can change."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


class DeletedFilter(admin.SimpleListFilter):
    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("no", "No"), ("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return {"no": queryset.live, "yes": queryset.deleted}.get(self.value(), queryset.all)()


class TextFilter(admin.SimpleListFilter):
    """A filter with a text input, for fields with too many values for a list of links."""

    template = "admin/text_filter.html"
    suggestions = ()

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("", "")]  # a filter without lookups is not shown

    def choices(self, changelist) -> list[dict]:
        others = {name: value for name, value in changelist.get_filters_params().items() if name != self.parameter_name}
        others = {name: value[-1] if isinstance(value, list) else value for name, value in others.items()}
        if changelist.query:
            others["q"] = changelist.query
        return [{"others": others, "value": self.value() or "", "name": self.parameter_name}]


class SoftDeleteAdmin(LargeTableAdmin):
    """Lists deleted rows too; deletes softly and restores. Newest first: ids sort by time."""

    actions = ("restore", "delete_selected")
    list_filter = (DeletedFilter,)
    ordering = ("-id",)
    search_fields = ("id",)  # enables the search box; get_search_results runs the search
    search_help_text = "An id, or the start of a token."
    deletion_note = ""  # what deleting means and what can be restored
    delete_confirmation_template = "admin/soft_delete_confirmation.html"
    delete_selected_confirmation_template = "admin/soft_delete_selected_confirmation.html"

    class Media:
        css = {"all": ("lockngen/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return self.model.all_objects.order_by(*self.ordering)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Search by id, start of a token, or part of a name. Names need no index: there are few keys."""
        if not (term := search_term.strip()):
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(Q(prefix__startswith=term) | Q(name__icontains=term)), False

    def response_action(self, request: HttpRequest, queryset: QuerySet):
        """Reject an action on "all" rows if there are more than COUNTED_ROWS."""
        if request.POST.get("select_across") == "1" and queryset.order_by()[COUNTED_ROWS:].exists():
            self.message_user(
                request, f"An action is limited to {COUNTED_ROWS} rows: filter the list first.", messages.ERROR
            )
            return None
        response = super().response_action(request, queryset)
        if isinstance(response, HttpResponseRedirect):
            return HttpResponseRedirect(self.return_url(request))
        return response

    def return_url(self, request: HttpRequest) -> str:
        """The page that the action was called from: a row's page, or the filtered list."""
        if row := request.POST.get("back_to"):
            return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row])
        return request.get_full_path()

    def get_deleted_objects(self, objs, request: HttpRequest):
        """The rows on the confirmation page. There are no cascades and no protected rows: deletion is soft."""
        permitted = self.has_delete_permission(request)
        return (
            [str(item) for item in objs],
            {self.opts.verbose_name_plural: len(objs)},
            set() if permitted else {self.opts.verbose_name},
            [],
        )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict | None = None) -> HttpResponse:
        return super().delete_view(request, object_id, {"deletion_note": self.deletion_note, **(extra_context or {})})

    @admin.action(description="Delete selected %(verbose_name_plural)s", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        response = delete_selected(self, request, queryset.live())
        if response is not None:
            response.context_data["deletion_note"] = self.deletion_note
        return response

    def delete_model(self, request: HttpRequest, obj) -> None:
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        queryset.delete()

    @admin.action(description="Restore selected %(verbose_name_plural)s", permissions=["delete"])
    def restore(self, request: HttpRequest, queryset: QuerySet) -> None:
        rows = list(queryset.deleted())
        count = queryset.restore()
        self.log_action_on(request, rows, "Restored.")
        self.message_user(request, f"Restored: {count}.", messages.SUCCESS)

    def log_action_on(self, request: HttpRequest, rows: list, message: str) -> None:
        LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, change_message=message)

    @admin.display(description="deleted")
    def deletion(self, row) -> str:
        return format_html('<span class="is-deleted">{}</span>', "deleted") if row.is_deleted else "–"
