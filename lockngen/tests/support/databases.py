"""Databases on the tests' server."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from django.db import connection


def database_url(name: str = "") -> str:
    """The URL of a database on the tests' server; without a name it is the one this test uses."""
    path = f"/{name or connection.settings_dict['NAME']}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=path).geturl()


@contextmanager
def new_database(template: str = "template1") -> Iterator[str]:
    """A copy of the template, by its URL; by default it is empty. The template may have no connections."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(database_url("postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        try:
            yield database_url(name)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
