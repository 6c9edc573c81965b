"""Database URLs as people write them: each is parsed as meant, or refused in one line without the password."""

import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from lockngen import database_url
from lockngen.environment import BASE_DIR

PLAIN = {"USER": "lockn", "PASSWORD": "hunter2", "HOST": "db", "PORT": "", "NAME": "lockngen", "OPTIONS": {}}


def parse(address: str) -> dict:
    return database_url.parse("DATABASE_URL", address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgres://lockn:hunter2@db/lockngen", {}),
        ("postgresql://lockn:hunter2@db/lockngen", {}),
        ("postgresql+psycopg://lockn:hunter2@db/lockngen", {}),
        ("postgres://lockn:p@ss@db/lockngen", {"PASSWORD": "p@ss"}),
        ("postgres://lockn:100%@db/lockngen", {"PASSWORD": "100%"}),
        ("postgres://lockn:a:b@db/lockngen", {"PASSWORD": "a:b"}),
        ("postgres://lockn:a%2Fb%40c%23d%25@db/lockngen", {"PASSWORD": "a/b@c#d%"}),
        (
            "postgres://lockn@%2Fvar%2FRun%2Fpostgresql/lockngen",
            {"HOST": "/var/Run/postgresql", "PASSWORD": ""},
        ),
        ("postgres://lockn:hunter2@[::1]:5433/lockngen", {"HOST": "::1", "PORT": "5433"}),
        (
            "postgres://lockn:hunter2@h1:5432,h2:5433/lockngen?target_session_attrs=read-write",
            {"HOST": "h1,h2", "PORT": "5432,5433", "OPTIONS": {"target_session_attrs": "read-write"}},
        ),
        (
            "postgresql://lockn:hunter2@db/lockngen?sslmode=require&channel_binding=require",
            {"OPTIONS": {"sslmode": "require", "channel_binding": "require"}},
        ),
        ("postgres://lockn:hunter2@db/lockngen?ssl=true", {"OPTIONS": {"sslmode": "require"}}),
        ("postgres://lockn:hunter2@db/lock%20gen", {"NAME": "lock gen"}),
    ],
)
def test_parse__address_as_meant(address, expected):
    parsed = parse(address)

    assert parsed == {"ENGINE": "lockngen.database", **PLAIN, **expected}


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("postgres://lockn:1/hunter2@db:5432/lockngen", "/ as %2F"),
        ("postgres://lockn:12?hunter2@db:5432/lockngen", r"\? as %3F"),
        ("postgres://lockn:hun#hunter2@db/lockngen", "# as %23"),
        ("postgres://lockn:hunter2@db:port/lockngen", "it takes postgres://"),
        ("postgres://lockn:hunter2@db:99999/lockngen", "it takes postgres://"),
        ("postgres://lockn:hunter2@db:5432", "it takes postgres://"),
        ("postgres://lockn:hunter2@db/lockngen#hunter2", "it takes postgres://"),
        ("postgres://lockn:hunter2@[::1/lockngen", "it takes postgres://"),
        ("postgres://lockn:hunter2%FF@db/lockngen", "it takes postgres://"),
        ("postgres://lockn:hunter2%00@db/lockngen", "it takes postgres://"),
        ("mysql://lockn:hunter2@db/lockngen", "it takes postgres://"),
        ("host=db password=hunter2", "it takes postgres://"),
        ("hunter2", "it takes postgres://"),
        ("postgres://lockn:hunter2@db/lockngen?pgbouncer=true", "pgbouncer .*set DB_PGBOUNCER=on"),
        ("postgres://lockn:hunter2@db/lockngen?schema=public", "schema .*use options="),
        ("postgres://lockn:hunter2@db/lockngen?conn_max_age=60", "conn_max_age .*remove it"),
        ("postgres://lockn:hunter2@db/lockngen?x hunter2 hunter2=1", "with this name .*remove it"),
        ("postgres://lockn:hunter2@db/lockngen?ssl=hunter2", "ssl .*sslmode=require"),
    ],
)
def test_parse__refusal_is_one_line_without_the_password(address, remedy):
    with pytest.raises(ImproperlyConfigured, match=f"^DATABASE_URL .*{remedy}") as caught:
        parse(address)

    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_parse__any_encoded_password(password):
    parsed = parse(f"postgres://lockn:{quote(password, safe='')}@db:5432/lockngen")

    assert (parsed["PASSWORD"], parsed["HOST"], parsed["NAME"]) == (password, "db", "lockngen")


@given(password=st.text(st.sampled_from("a1/?#@%:&=[] ,\\+é"), max_size=12))
def test_parse__any_plain_password_reaches_the_same_server_or_is_refused(password):
    try:
        parsed = parse(f"postgres://lockn:{password}@db:5432/lockngen")
    except ImproperlyConfigured:
        return

    assert (parsed["USER"], parsed["HOST"], parsed["PORT"], parsed["NAME"]) == ("lockn", "db", "5432", "lockngen")
    assert parsed["OPTIONS"] == {}


def test_command__prints_one_line_without_the_password():
    done = subprocess.run(
        [sys.executable, "-W", "always", "manage.py", "check"],
        cwd=BASE_DIR,
        env={**os.environ, "DATABASE_URL": "postgres://lockn:1/hunter2@db:5432/lockngen"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("DATABASE_URL can't be read: percent-encode the password")
    assert "hunter2" not in done.stderr
