"""Create, show and list on the fast path (lockngen/web/fast.py), with only the statements that they need.

A test sends the same requests through here and through Django and compares the responses.
"""

import re
from collections import namedtuple
from functools import cache, partial
from uuid import UUID

from pydantic import ValidationError

from apikeys.models import ApiKey
from apikeys.rate_limit.statement import ADMITTED, AuthResult, Selection
from generations.api import cursors, presenters
from generations.api.presenters import Viewer
from generations.api.queries import parsed_id
from generations.api.schemas import GenerationIn
from generations.models import IMAGE_FACTS, PARAMETERS, Generation
from generations.status import Stateful, Status
from lockngen.database import retry
from lockngen.web import bodies, fast, threads
from lockngen.web.batches import Batches
from lockngen.web.fast import Call, Fallback, Result

URL = "/api/v1/generations"
COLUMNS = (
    *("id", "status", "attempts", "image_path", "error_message", "created_at", "started_at", "completed_at"),
    *PARAMETERS,
    *IMAGE_FACTS,
)
# As text: Python objects of these types would only be made to become text again.
AS_TEXT = {"id", "created_at", "started_at", "completed_at"}
SELECTED = ", ".join(f"generation.{column}{'::text' if column in AS_TEXT else ''}" for column in COLUMNS)
QUERY = re.compile(r"(?:(?:^|&)(?:limit=(?P<limit>\d{1,3})|status=(?P<status>[a-z]+)|cursor=(?P<cursor>[\w-]{22})))*")
ONE = Selection(
    SELECTED,
    f"LEFT JOIN generations_generation AS generation ON {ADMITTED} AND generation.id = %(id)s"
    " AND generation.api_key_id = found.id AND NOT generation.is_deleted",
)
PAGE = """
LEFT JOIN LATERAL (
    SELECT {columns}, row_number() OVER (ORDER BY id DESC) AS number FROM generations_generation
    WHERE {admitted} AND api_key_id = found.id AND NOT is_deleted {conditions} ORDER BY id DESC LIMIT {limit}
) AS generation ON true LEFT JOIN found AS shown ON number IS NULL OR number = 1 ORDER BY number
"""


KEYS = ApiKey.objects.all()  # made once: a manager makes a filtered queryset at each call


class Row(Stateful, namedtuple("Row", COLUMNS)):
    __slots__ = ()

    @property
    def pk(self) -> UUID:
        return UUID(self.id)


def register() -> None:
    fast.register("POST", URL, create)
    fast.register("GET", URL, partial(threads.API.run, list_))
    fast.register("GET", f"{URL}/", partial(threads.API.run, show))


async def create(call: Call) -> Result:
    """Authenticate the call alone, as the limit's row must not be locked until the commit; store it in a batch."""
    with _submissions.expect():
        auth_result, parameters = await threads.API.run(_prepare, call)
    try:
        generation = await _submissions.add({"api_key": auth_result.key, **parameters})
    except threads.Busy:  # it was not stored
        raise
    except Exception as error:
        raise Fallback(auth_result, error) from None
    viewer = Viewer(call.base_url, auth_result.key.pk)
    headers = {"Location": presenters.address(viewer, generation.id)} | _limit_headers(auth_result)
    return Result(presenters.as_json(presenters.generation(generation, viewer)), 201, headers)


_submissions = Batches(Generation.objects.submit_all)


def show(call: Call) -> Result:
    id = parsed_id(call.id)
    if call.query or id is None:
        raise Fallback
    auth_result = _authenticate(call, ONE, id=id)
    row = auth_result.rows[0]
    if row[0] is None:
        raise Fallback(auth_result)  # it does not exist, or it belongs to a key that this one replaced
    viewer = Viewer(call.base_url, auth_result.key.pk)
    return _result(auth_result, presenters.generation(Row._make(row), viewer))


def list_(call: Call) -> Result:
    query = QUERY.fullmatch(call.query)
    if query is None:
        raise Fallback
    limit, status, cursor = int(query["limit"] or 20), query["status"], query["cursor"]
    if not 1 <= limit <= 100 or (status and status.upper() not in Status.__members__):
        raise Fallback
    try:
        older_than = cursors.decode(cursor) if cursor else None
    except ValueError:
        raise Fallback from None
    selection = _page(limit, bool(status), bool(cursor))
    status = status and Status[status.upper()].value
    auth_result = _authenticate(call, selection, status=status, cursor=older_than)
    if auth_result.key.rotated_from_id:
        raise Fallback(auth_result)
    rows = [Row._make(row) for row in auth_result.rows if row[0] is not None]
    return _result(auth_result, presenters.page(rows, limit, Viewer(call.base_url, auth_result.key.pk)))


def _prepare(call: Call) -> tuple[AuthResult, dict]:
    """Authenticate and validate. A key with a quota has its submissions serialized, one transaction each."""
    if call.query:
        raise Fallback
    auth_result = _authenticate(call)
    if auth_result.key.max_pending:
        raise Fallback(auth_result)
    try:
        body = GenerationIn.model_validate(bodies.parse(call.body, call.content_type))
        if body.n is None and body.webhook is None:
            return auth_result, body.parameters()[0]
    except (bodies.Problem, ValidationError):
        pass
    raise Fallback(auth_result)


def _authenticate(call: Call, selection: Selection | None = None, **parameters) -> AuthResult:
    try:
        auth_result = KEYS.authenticate(call.token, 1, selection, **parameters)
    except retry.ERRORS as error:
        raise Fallback(error=error) from None
    if not auth_result.is_admitted:
        raise Fallback(auth_result)
    return auth_result


@cache
def _page(limit: int, has_status: bool, has_cursor: bool) -> Selection:
    """The limit is in the statement's text: with a parameter the planner would choose another index."""
    conditions = ("AND status = %(status)s " if has_status else "") + ("AND id < %(cursor)s" if has_cursor else "")
    joins = PAGE.format(columns=", ".join(COLUMNS), admitted=ADMITTED, conditions=conditions, limit=limit + 1)
    return Selection(SELECTED, joins, key="shown")


def _result(auth_result: AuthResult, shown: dict) -> Result:
    return Result(presenters.as_json(shown), headers=_limit_headers(auth_result))


def _limit_headers(auth_result: AuthResult) -> dict[str, str]:
    return auth_result.rate_limit_state.headers() if auth_result.rate_limit_state else {}
