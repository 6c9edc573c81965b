"""LockN Gen without a limiter: the key is found by a plain SELECT, and nothing is counted or noted."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")

from lockngen.asgi import application  # noqa: F401  what is served, and sets Django up

# isort: split
from apikeys.rate_limit import statement

statement.STATEMENT = """
SELECT {columns}, 'admitted', NULL, NULL FROM apikeys_apikey WHERE key_hash = %(digest)s::bpchar
AND NOT is_deleted AND revoked_at IS NULL AND is_active AND (expires_at IS NULL OR expires_at > statement_timestamp())
"""
