"""Database URLs: `postgres://user:password@host:5432/name?option=value`, parsed by libpq's own rules.

A URL holds a password, and libpq's messages may quote a part of it, so no error contains any text of the URL except
the name of an option.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

FORM = "postgres://user:password@host:5432/name"
URL = re.compile(
    r"(?:postgres|postgresql|pgsql)(?:\+\w+)?://"
    r"(?:(?P<userinfo>[^/?#]*)@)?(?P<hosts>[^/?#@]*)/(?P<name>[^/?#@]+)(?:\?(?P<options>[^#@]*))?"
)
REMEDIES = {
    "pgbouncer": "set DB_PGBOUNCER=on instead",
    "schema": "use options=-csearch_path%3DNAME instead",
    "prepare_threshold": "set DB_PREPARE_THRESHOLD instead",
    "connection_limit": "set DB_POOL_MAX_SIZE instead",
    "pool_timeout": "set DB_POOL_TIMEOUT instead",
    "ssl": "use sslmode=require instead",
}


def parse(name: str, address: str) -> dict[str, Any]:
    """Django's settings of the database at `address`, which is the value of the variable `name`."""
    found = URL.fullmatch(address)
    if found is None:
        raise ImproperlyConfigured(f"{name} can't be read: {_reason(address)}.")
    _refuse_unknown_options(name, found["options"] or "")
    try:
        userinfo = _quoted(found["userinfo"])
        parts = conninfo_to_dict(f"postgresql://{userinfo}{address[found.start('hosts') :]}")
        parts["port"] = _checked_port(parts.get("port", ""))
    except (psycopg.ProgrammingError, ValueError):
        raise ImproperlyConfigured(f"{name} can't be read: it takes {FORM}.") from None
    base = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    config = {ours: parts.pop(theirs, "") for ours, theirs in base.items()}
    return {"ENGINE": "lockngen.database", **config, "OPTIONS": parts}


def _reason(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if separator and scheme.startswith(("postgres", "pgsql")) and re.search(r"[/?#].*@", rest):
        return "percent-encode the password (/ as %2F, ? as %3F, # as %23, @ as %40, % as %25)"
    return f"it takes {FORM}"


def _quoted(userinfo: str | None) -> str:
    """User and password percent-encoded for libpq, including a single % or @."""
    if userinfo is None:
        return ""
    parts = [unquote_to_bytes(part).decode() for part in userinfo.split(":", 1)]
    if any("\0" in part for part in parts):
        raise ValueError
    return ":".join(quote(part, safe="") for part in parts) + "@"


def _checked_port(ports: str) -> str:
    for port in filter(None, ports.split(",")):
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError
    return ports


def _refuse_unknown_options(name: str, query: str) -> None:
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in known or (option == "ssl" and value != "true"):  # libpq takes JDBC's ssl=true
            shown = option if re.fullmatch(r"\w{1,40}", option) else "with this name"
            remedy = REMEDIES.get(option, "remove it")
            raise ImproperlyConfigured(f"{name} has an option {shown} that PostgreSQL does not support: {remedy}.")
