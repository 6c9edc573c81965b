"""Authentication in one statement: find the key, check its state, take one unit of its limit."""

import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, connections
from django.db.models import Model
from django.utils import timezone

from apikeys import states, tokens
from apikeys.rate_limit.algorithm import COST, OWED, RateLimitState
from lockngen.database import retry
from lockngen.plain import one_line
from lockngen.softdelete import SoftDeleteQuerySet

logger = logging.getLogger(__name__)

ACCEPTED = "admitted"
LIMITED = "limited"  # the key is valid, but its limit is used up

# The clock is read after the bucket's row is locked. A time from before the wait for the lock, such as
# statement_timestamp(), can be earlier than that of the previous holder of the lock.
#
# A row is written for rejected calls too, so that they return one and differ from calls of a key without a limit.
STATEMENT = """
WITH found AS (
    SELECT {columns}, {state} AS state
    FROM apikeys_apikey WHERE key_hash = %(digest)s::bpchar
), taken AS (
    INSERT INTO apikeys_bucket AS bucket (key_id, spent, is_admitted, measured_at)
    SELECT id, %(units)s::bigint * {cost}, true, clock_timestamp()
    FROM found WHERE state = 'admitted' AND rate_limit > 0
    ON CONFLICT (key_id) DO UPDATE SET (spent, is_admitted, measured_at) = (
        SELECT CASE WHEN fits THEN owed + excluded.spent ELSE owed END, fits, now
        FROM (SELECT rate_limit::bigint AS rate, clock_timestamp() AS now FROM found OFFSET 0) AS clock,
        LATERAL (SELECT {owed} AS owed) AS debt,
        LATERAL (SELECT owed + excluded.spent <= rate * {cost} AS fits) AS decision
    )
    RETURNING key_id, spent, is_admitted
)
SELECT {shown}, found.state, spent, is_admitted {selected} FROM found LEFT JOIN taken ON key_id = found.id {joins}
"""
# SKIP LOCKED: no call waits for a lock on the key's row.
RECORD_USE = """
UPDATE apikeys_apikey SET last_used_at = statement_timestamp() WHERE id = (
    SELECT id FROM apikeys_apikey WHERE id = %s
    AND (last_used_at IS NULL OR last_used_at < statement_timestamp() - interval '1 minute')
    FOR NO KEY UPDATE SKIP LOCKED
)
"""
USE_RECORDED_EVERY = timedelta(minutes=1)


class Selection(NamedTuple):
    """What a call reads in the same statement: columns, and joins to `found` and `taken`.

    The joins must contain ADMITTED, so that nothing is read for a rejected call. If they give many rows, the last of
    them is a join of `shown`, which is `found` in the first row and NULL in the others: to load the key's columns from
    each row takes longer than to load the row.
    """

    columns: str
    joins: str
    key: str = "found"


ADMITTED = "found.state = 'admitted' AND is_admitted IS NOT FALSE"


@dataclass(frozen=True)
class AuthResult:
    """The key that a call is authenticated with, or why it is rejected. The reason is for the log only."""

    reason: str
    prefix: str = ""
    key: Model | None = None
    rate_limit_state: RateLimitState | None = None  # of a valid key that has a limit
    rows: Sequence[tuple] = ()  # what was selected

    @property
    def is_admitted(self) -> bool:
        return self.reason == ACCEPTED


class AuthenticationQuerySet(SoftDeleteQuerySet):
    def authenticate(self, token: str, units: int = 1, selection: Selection | None = None, **parameters) -> AuthResult:
        """Authenticate a call, and take its units (0 for a free call) of the limit of the token's key.

        With a selection the statement also reads its rows: at least one, of which all columns may be NULL.
        A malformed token, or one for development with DEBUG off, costs no query.
        """
        if not tokens.is_valid(token):
            return AuthResult("malformed")
        prefix = tokens.visible(token)
        if tokens.is_test(token) and not settings.DEBUG:
            return AuthResult("development", prefix)
        return self._authenticate(tokens.digest(token), prefix, units, selection, **parameters)

    def charge(self, key: Model, units: int = 1) -> AuthResult:
        """Authenticate a call of a key that is known from a session."""
        return self._authenticate(key.key_hash, key.prefix, units)

    def _authenticate(
        self, digest: str, prefix: str, units: int, selection: Selection | None = None, **parameters
    ) -> AuthResult:
        rows = self._execute(statement(self.model, selection), {"digest": digest, "units": units, **parameters})
        if not rows:
            return AuthResult("unknown", prefix)
        names = _attributes(self.model)
        width = len(names)
        state, spent, is_admitted = rows[0][width : width + 3]
        key = self.model.from_db(self.db, names, rows[0][:width])
        if not hmac.compare_digest(key.key_hash, digest):
            return AuthResult("unknown", prefix)
        rate_limit_state = None if spent is None else RateLimitState(key.rate_limit, spent)
        if state == ACCEPTED:
            self._record_use(key)
        selected = [row[width + 3 :] for row in rows]
        return AuthResult(LIMITED if is_admitted is False else state, prefix, key, rate_limit_state, selected)

    def usable_key(self, token: str) -> Model | None:
        """The usable key of a token, or None. Its limit is not charged."""
        auth_result = self.authenticate(token, units=0)
        return auth_result.key if auth_result.is_admitted else None

    def _execute(self, statement: str, parameters: dict[str, Any]) -> list[tuple]:
        retry.connect()  # only this is retried: once the statement is sent, it may have taken its units
        with connections[self.db].prepared_cursor() as cursor:  # planning takes three times as long as execution
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def _record_use(self, key: Model) -> None:
        """Set last_used_at once a minute. The call is admitted, so an error must not fail it."""
        if key.last_used_at and timezone.now() - key.last_used_at < USE_RECORDED_EVERY:
            return
        try:
            with connections[self.db].cursor() as cursor:
                cursor.execute(RECORD_USE, [key.pk])
        except retry.ERRORS as error:
            logger.info("The use of a key was not recorded: %s", one_line(error))


@cache
def _attributes(model) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def statement(model, selection: Selection | None = None) -> str:
    compiler = model.all_objects.all().query.get_compiler(connection=connection)
    state, names = compiler.compile(states.case(default=ACCEPTED).resolve_expression(compiler.query))
    columns = [field.column for field in model._meta.concrete_fields]
    return STATEMENT.format(
        columns=", ".join(columns),
        shown=", ".join(f"{selection.key if selection else 'found'}.{column}" for column in columns),
        selected=f", {selection.columns}" if selection else "",
        joins=selection.joins if selection else "",
        state=state % tuple(f"'{name}'" for name in names),
        cost=COST,
        owed=OWED,
    )
