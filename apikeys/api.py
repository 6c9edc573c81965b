"""What a client may know of its own key."""

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from apikeys.auth import BearerToken
from lockngen.problems import ProblemDocument

router = Router(auth=BearerToken(), tags=["key"])


class KeyOut(Schema):
    name: str
    prefix: str = Field(description="The visible start of the token.")
    limit: int = Field(alias="rate_limit", description="Requests a minute; 0 means no limit.")
    remaining: int | None = Field(None, description="Requests left at the moment, null where none are counted.")


@router.get(
    "",
    summary="Show your key",
    response={200: KeyOut, 401: ProblemDocument, 500: ProblemDocument, 503: ProblemDocument},
)
def show(request: HttpRequest):
    """The key that the token stands for."""
    return request.auth
