"""What the admin of every soft-deleted model shares."""

from functools import cached_property
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

COUNTED_ROWS = 10_000


class CappedPaginator(Paginator):
    """Counts no further than COUNTED_ROWS: counting millions of rows takes longer than showing one page of them."""

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:COUNTED_ROWS].count()


class DeletedFilter(admin.SimpleListFilter):
    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("no", "No"), ("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return {"no": queryset.live, "yes": queryset.deleted}.get(self.value(), queryset.all)()


class SoftDeleteAdmin(admin.ModelAdmin):
    """Shows deleted rows as well; deletes softly, one and many, and restores. Newest first: ids sort by time."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count every row for every filter
    actions = ("restore",)
    list_filter = (DeletedFilter,)
    ordering = ("-id",)
    search_fields = ("id", "prefix")  # shows the search box; get_search_results searches
    search_help_text = "An id, or the start of a token."
    prefix_field = "prefix"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return self.model.all_objects.order_by(*self.ordering)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """By what has an index. Django's own search compares parts of texts, row by row."""
        if not (term := search_term.strip()):
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(**{f"{self.prefix_field}__startswith": term}), False

    def response_action(self, request: HttpRequest, queryset: QuerySet):
        """Refuses to act on "all" rows where those are more than were counted and shown."""
        if request.POST.get("select_across") == "1" and queryset.order_by()[COUNTED_ROWS:].exists():
            self.message_user(
                request, f"An action takes {COUNTED_ROWS} rows at most: filter them first.", messages.ERROR
            )
            return None
        return super().response_action(request, queryset)

    def get_deleted_objects(self, objs, request: HttpRequest):
        """What the confirmation page lists. Nothing cascades and nothing protects: the rows are only hidden."""
        permitted = self.has_delete_permission(request)
        return (
            [str(item) for item in objs],
            {self.opts.verbose_name_plural: len(objs)},
            set() if permitted else {self.opts.verbose_name},
            [],
        )

    def delete_model(self, request: HttpRequest, obj) -> None:
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        queryset.delete()

    @admin.action(description="Restore selected %(verbose_name_plural)s", permissions=["delete"])
    def restore(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.message_user(request, f"Restored: {queryset.restore()}.", messages.SUCCESS)
