"""Many generations at once, by SQL."""

from generations.models import Generation

OWN = ("id", "submission_id", "api_key_id")
_names = [field.column for field in Generation._meta.concrete_fields if field.column not in OWN]

COPY = f"""
    INSERT INTO generations_generation (id, api_key_id, {", ".join(_names)})
    SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '70008000' || substr(md5(key.id::text), 1, 7)
            || lpad(to_hex(number), 5, '0'))::uuid, key.id, {", ".join(f"generation.{name}" for name in _names)}
    FROM generations_generation AS generation, apikeys_apikey AS key, generate_series(1, %(count)s) AS number
    WHERE generation.id = %(id)s AND key.prefix = %(prefix)s
"""
"""Gives the key with this prefix `count` copies of the generation with this `id`, older than those made by a client."""
