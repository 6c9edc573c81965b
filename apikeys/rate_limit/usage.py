"""Usage of the rate limits."""

from collections.abc import Collection
from uuid import UUID

from apikeys.rate_limit.algorithm import COST, OWED
from apikeys.rate_limit.bucket import RateLimitBucket

STATEMENT = f"""
SELECT key_id, ({OWED} + {COST - 1}) / {COST} AS requests
FROM apikeys_bucket AS bucket
JOIN (SELECT id, rate_limit::bigint AS rate, statement_timestamp() AS now FROM apikeys_apikey) AS key ON id = key_id
WHERE key_id = ANY(%s)
"""  # noqa: S608  made of constants


def requests_last_minute(keys: Collection) -> dict[UUID, int]:
    """Requests that each key has used and not yet regained, by the key's id; only of keys that have a limit."""
    used = {key.pk: 0 for key in keys if key.rate_limit}
    buckets = RateLimitBucket.objects.raw(STATEMENT, [list(used)])
    return used | {bucket.pk: bucket.requests for bucket in buckets}
