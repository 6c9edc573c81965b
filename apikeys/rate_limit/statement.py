"""Authentication in one statement: find the key, check its state, take one unit of its limit."""

import hmac
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.db import connection, connections
from django.db.models import Model

from apikeys import states, tokens
from apikeys.rate_limit.algorithm import COST, OWED, RateLimitState
from lockngen.database import retry
from lockngen.softdelete import SoftDeleteQuerySet

ACCEPTED = "admitted"
LIMITED = "limited"  # the key is valid, but its limit is used up

# The clock is read after the bucket's row is locked. A time from before the wait for the lock, such as
# statement_timestamp(), can be earlier than that of the previous holder of the lock.
#
# A row is written for rejected calls too, so that they return one and differ from calls of a key without a limit.
#
# SKIP LOCKED: no call waits for a lock on the key's row to set last_used_at.
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
), last_used AS (
    UPDATE apikeys_apikey SET last_used_at = statement_timestamp() WHERE id = (
        SELECT id FROM found JOIN apikeys_apikey AS key USING (id)
        WHERE state = 'admitted'
        AND (key.last_used_at IS NULL OR key.last_used_at < statement_timestamp() - interval '1 minute')
        FOR NO KEY UPDATE OF key SKIP LOCKED
    )
)
SELECT {columns}, state, spent, is_admitted FROM found LEFT JOIN taken ON key_id = id
"""


@dataclass(frozen=True)
class AuthResult:
    """The key that a call is authenticated with, or why it is rejected. The reason is for the log only."""

    reason: str
    prefix: str = ""
    key: Model | None = None
    rate_limit_state: RateLimitState | None = None  # of a valid key that has a limit

    @property
    def is_admitted(self) -> bool:
        return self.reason == ACCEPTED


class AuthenticationQuerySet(SoftDeleteQuerySet):
    def authenticate(self, token: str, units: int = 1) -> AuthResult:
        """Authenticate a call, and take its units (0 for a free call) of the limit of the token's key.

        A malformed token, or one for development with DEBUG off, costs no query.
        """
        if not tokens.is_valid(token):
            return AuthResult("malformed")
        prefix = tokens.visible(token)
        if tokens.is_test(token) and not settings.DEBUG:
            return AuthResult("development", prefix)
        digest = tokens.digest(token)
        row = self._execute(digest, units)
        if row is None:
            return AuthResult("unknown", prefix)
        *values, state, spent, is_admitted = row
        key = self.model.from_db(self.db, [field.attname for field in self.model._meta.concrete_fields], values)
        if not hmac.compare_digest(key.key_hash, digest):
            return AuthResult("unknown", prefix)
        rate_limit_state = None if spent is None else RateLimitState(key.rate_limit, spent)
        return AuthResult(LIMITED if is_admitted is False else state, prefix, key, rate_limit_state)

    def usable_key(self, token: str) -> Model | None:
        """The usable key of a token, or None. Its limit is not charged."""
        auth_result = self.authenticate(token, units=0)
        return auth_result.key if auth_result.is_admitted else None

    def _execute(self, digest: str, units: int) -> tuple | None:
        retry.connect()  # only this is retried: once the statement is sent, it may have taken its units
        with connections[self.db].prepared_cursor() as cursor:  # planning takes three times as long as execution
            cursor.execute(statement(self.model), {"digest": digest, "units": units})
            return cursor.fetchone()


@cache
def statement(model) -> str:
    compiler = model.all_objects.all().query.get_compiler(connection=connection)
    state, names = compiler.compile(states.case(default=ACCEPTED).resolve_expression(compiler.query))
    return STATEMENT.format(
        columns=", ".join(field.column for field in model._meta.concrete_fields),
        state=state % tuple(f"'{name}'" for name in names),
        cost=COST,
        owed=OWED,
    )
