"""The limit of short calls that the rate limit doesn't count, for each key in each web process."""

from apikeys.authentication import limited
from apikeys.models import ApiKey
from apikeys.rate_limit.throttle import Throttle

CALLS_A_MINUTE = 600

throttle = Throttle(CALLS_A_MINUTE)


def count(key: ApiKey) -> None:
    """Count a call of the key. Raises Problem if the limit is reached."""
    if seconds := throttle.retry_after(key.pk):
        raise limited(f"This call is limited to {CALLS_A_MINUTE} a minute for each key.", seconds)
