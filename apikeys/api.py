"""The API for a client's own key."""

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from apikeys import free_calls, usage_provider
from apikeys.authentication import BearerToken
from lockngen.database import retry
from lockngen.web.problems import problems

router = Router(auth=BearerToken(is_free=True), tags=["key"])


class KeyOut(Schema):
    name: str
    prefix: str = Field(description="The visible start of the token.")
    limit: int = Field(description="Requests a minute; 0 means no limit.")
    remaining: int | None = Field(description="Requests that would be admitted now; null without a limit.")
    reset: int | None = Field(description="Seconds until the whole limit is available again; null without a limit.")
    max_pending: int = Field(description="Generations that may be pending or processing at once; 0 means no quota.")
    pending: int = Field(description="Generations that are pending or processing.")


@router.get(
    "",
    operation_id="getKey",
    summary="Show your key",
    response={200: KeyOut, **problems(422)},
)
@retry.idempotent
def show(request: HttpRequest):
    """The key of the token, with the state of its limit and its quota. The limit doesn't count this call."""
    key, state = request.auth, request.auth_result.rate_limit_state
    free_calls.count(key)
    return {
        "name": key.name,
        "prefix": key.prefix,
        "limit": key.rate_limit,
        "remaining": state and state.remaining,
        "reset": state and state.reset,
        "max_pending": key.max_pending,
        "pending": usage_provider.get_provider().unfinished(key),
    }
