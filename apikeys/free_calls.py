"""The limit of short calls that the rate limit doesn't count, for each key in each web process."""

from apikeys.models import ApiKey
from apikeys.rate_limit.throttle import Throttle
from lockngen.web.problems import Problem

CALLS_A_MINUTE = 600

throttle = Throttle(CALLS_A_MINUTE)


def count(key: ApiKey) -> None:
    """Count a call of the key. Raises Problem if the limit is reached."""
    if seconds := throttle.retry_after(key.pk):
        raise Problem(
            429,
            f"This call is limited to {CALLS_A_MINUTE} a minute for each key. Try again in {seconds} s.",
            type="urn:lockngen:problem:rate-limited",
            headers={"Retry-After": str(seconds)},
        )
