"""Keys in the databases of other processes."""

import psycopg

from apikeys import tokens

INSERT = """
    INSERT INTO apikeys_apikey (id, name, key_hash, prefix, rate_limit)
    VALUES (gen_random_uuid(), %s, %s, %s, %s)
"""


def insert_key(database: str, name: str, rate_limit: int = 0) -> str:
    """Store a key in the database with this URL, and return its token: `apikey create` would take a second."""
    token = tokens.make()
    with psycopg.connect(database) as connection:
        connection.execute(INSERT, [name, tokens.digest(token), tokens.visible(token), rate_limit])
    return token
