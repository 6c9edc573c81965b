"""Pages of predictions, newest first. `previous` and `next` are addresses with a cursor."""

from datetime import UTC, datetime
from typing import Annotated, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest
from ninja import Schema
from pydantic import AfterValidator, BeforeValidator

from generations.api import cursors
from generations.models import Generation
from generations.querysets import GenerationQuerySet
from lockngen.web import links

SIZE = 100
REVERSE = "r"  # the start of a cursor that leads to newer predictions


class Cursor(NamedTuple):
    """The place in the list between two pages."""

    id: UUID
    is_reverse: bool = False

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        return cls(cursors.decode(text.removeprefix(REVERSE)), text.startswith(REVERSE))

    def encode(self) -> str:
        return f"{REVERSE if self.is_reverse else ''}{cursors.encode(self.id)}"


Time = Annotated[datetime, AfterValidator(lambda time: time if time.tzinfo else time.replace(tzinfo=UTC))]


class PageQuery(Schema):
    cursor: Annotated[Cursor, BeforeValidator(Cursor.decode)] | None = None
    created_after: Time | None = None
    created_before: Time | None = None


class Page(NamedTuple):
    rows: list[Generation]
    has_previous: bool
    has_next: bool

    @classmethod
    def of(cls, rows: GenerationQuerySet, query: PageQuery) -> "Page":
        if query.created_after:
            rows = rows.created_since(query.created_after)
        if query.created_before:
            rows = rows.created_before(query.created_before)
        if query.cursor and query.cursor.is_reverse:
            found = list(rows.newer_than(query.cursor.id).order_by("id")[: SIZE + 1])[::-1]
            return cls(found[-SIZE:], len(found) > SIZE, bool(found))
        rows = rows.older_than(query.cursor.id) if query.cursor else rows
        found = list(rows.newest_first()[: SIZE + 1])
        return cls(found[:SIZE], bool(query.cursor and found), len(found) > SIZE)

    def addresses(self, request: HttpRequest) -> dict[str, str | None]:
        return {
            "previous": _address(request, Cursor(self.rows[0].id, is_reverse=True)) if self.has_previous else None,
            "next": _address(request, Cursor(self.rows[-1].id)) if self.has_next else None,
        }


def _address(request: HttpRequest, cursor: Cursor) -> str:
    query = {**request.GET.dict(), "cursor": cursor.encode()}
    return f"{links.base(request)}{request.path_info}?{urlencode(query)}"
