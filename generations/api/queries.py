from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from ninja import Schema
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from generations.api import cursors
from generations.api.schemas import THUMBNAIL_SIZE, StatusName, Text, bounded_text
from generations.images.downloads import Size
from generations.models import MODEL_LENGTH, PROMPT_LENGTH

MAX_LABEL_FILTERS = 3


def parsed_id(text: str) -> UUID | None:
    """The id of a generation. None for a text that is no UUID in its usual form."""
    try:
        id = UUID(text)
    except ValueError:
        return None
    return id if str(id) == text.lower() else None


def _digits(value: Any) -> Any:
    # A query contains only text, of which Pydantic would accept "1.0" and " 1" as well.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("it is not a whole number")
    return value


def _label(text: str) -> str:
    if ":" not in text:
        raise ValueError("it must be a name and a value, as name:value")
    return text


class WaitQuery(Schema):
    wait: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=settings.WEB_MAX_WAIT)] | None = Field(
        None, description="Seconds to wait for the end of the generation, as with `Prefer: wait=N`."
    )


class SignedQuery(Schema):
    signature: str | None = Field(None, description="Replaces the key: part of an address in `signed_urls`.")


class ImageQuery(SignedQuery):
    size: Size = Field("full", description=f"`thumb` is a WebP {THUMBNAIL_SIZE}.")


class PreviewQuery(SignedQuery):
    number: Annotated[int, BeforeValidator(_digits)] | None = Field(
        None, description="Has no effect: it gives each preview another address."
    )


# A cursor is documented as the text that is sent, not as the parsed id.
CURSOR = {"anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}, {"type": "null"}]}


class ListQuery(Schema):
    status: StatusName | None = Field(None, description="Only generations in this state.")
    model: bounded_text(MODEL_LENGTH) | None = Field(None, description="Only those of this model.")
    q: bounded_text(PROMPT_LENGTH) | None = Field(
        None, description='Words of the prompt; supports "a phrase", OR and -word.'
    )
    label: Annotated[list[Annotated[Text, AfterValidator(_label)]], Field(max_length=MAX_LABEL_FILTERS)] = Field(
        [], description=f"Only those with this label, as `name:value`. Can be given {MAX_LABEL_FILTERS} times."
    )
    created_after: AwareDatetime | None = Field(None, description="Only those created at this time or later.")
    created_before: AwareDatetime | None = Field(None, description="Only those created before this time.")
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=100)] = 20
    cursor: Annotated[UUID, BeforeValidator(cursors.decode)] | None = Field(
        None, description="The `next_cursor` of the previous page.", json_schema_extra=CURSOR
    )
