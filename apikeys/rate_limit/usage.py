"""Usage of the rate limits."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from apikeys.rate_limit.algorithm import COST
from apikeys.rate_limit.bucket import RateLimitBucket


def requests_last_minute(keys: Collection) -> dict[UUID, int]:
    """Requests that each key has made and not got back yet, by the key's id; only of keys that have a limit."""
    limits = {key.pk: key.rate_limit for key in keys if key.rate_limit}
    used = dict.fromkeys(limits, 0)
    buckets = RateLimitBucket.objects.filter(key__in=limits).annotate(age=Now() - F("measured_at"))
    for id, spent, age in buckets.values_list("key_id", "spent", "age"):
        got_back = limits[id] * min(max(age // timedelta(microseconds=1), 0), COST)
        used[id] = -(-max(min(spent, limits[id] * COST) - got_back, 0) // COST)
    return used
