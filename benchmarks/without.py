"""LockN Gen without a limiter: the key is found by a plain SELECT, and nothing is counted."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")

from lockngen.asgi import application  # noqa: F401  what is served, and sets Django up

# isort: split
from apikeys.rate_limit import statement

statement.STATEMENT = """
WITH found AS (
    SELECT {columns}, {state} AS state
    FROM apikeys_apikey WHERE key_hash = %(digest)s::bpchar
)
SELECT {shown}, state, spent, is_admitted {selected}
FROM found CROSS JOIN (SELECT NULL::bigint AS spent, NULL::boolean AS is_admitted) AS taken {joins}
"""
