import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
from django.core.exceptions import ImproperlyConfigured

from lockngen import environment as env
from lockngen.database import embedded

NO_MODES = ["-200", "800", "rw-r-----", "1777", "6", "0x1ff", "7_00", "0o750"]  # neither a file's nor a folder's


@pytest.fixture
def setting(monkeypatch):
    return lambda value: monkeypatch.setenv("SETTING", value)


@pytest.mark.parametrize(("value", "meaning"), [("on", True), ("TRUE", True), ("1", True), ("no", False), ("0", False)])
def test_flag__reads_the_usual_words(setting, value, meaning):
    setting(value)

    assert env.flag("SETTING", not meaning) is meaning


def test_pairs__are_separated_by_commas(setting):
    setting("a=b, c = d,")

    assert env.pairs("SETTING") == {"a": "b", "c": "d"}


@pytest.mark.parametrize("read", [env.flag, env.integer, env.seconds, env.text])
def test_empty__counts_as_unset(setting, read):
    setting(" ")

    assert read("SETTING", 7) == 7


@pytest.mark.parametrize(
    ("read", "value", "takes"),
    [
        (lambda: env.flag("SETTING"), "maybe", "on or off"),
        (lambda: env.integer("SETTING", 1), "1.5", "whole number from 0 up"),
        (lambda: env.integer("SETTING", 1, minimum=2), "1", "whole number from 2 up"),
        (lambda: env.integer("SETTING", 1, maximum=9), "10", "whole number from 0 to 9"),
        (lambda: env.integer("SETTING", 1), str(2**31), "whole number from 0 up"),
        (lambda: env.seconds("SETTING", 1), "2000001", "seconds from 0 up"),
        (lambda: env.seconds("SETTING", 1), "nan", "seconds from 0 up"),
        (lambda: env.seconds("SETTING", 1), "inf", "seconds from 0 up"),
        (lambda: env.seconds("SETTING", 1), "-1", "seconds from 0 up"),
        (lambda: env.pairs("SETTING"), "a=b,c", "pairs such as name=value"),
        (lambda: env.pairs("SETTING"), "a=b=c", "pairs such as name=value"),
        (lambda: env.pairs("SETTING"), "a=", "pairs such as name=value"),
        (lambda: env.url("SETTING"), "images.example.org", "https://"),
        (lambda: env.url("SETTING"), "https://a b", "https://"),
        (lambda: env.url("SETTING"), "https://a/b?c", "https://"),
        *((lambda: env.file_mode("SETTING", 0o600), mode, "such as 640") for mode in [*NO_MODES, "400", "0", "577"]),
        *((lambda: env.folder_mode("SETTING", 0o700), mode, "such as 750") for mode in [*NO_MODES, "600", "677"]),
    ],
)
def test_bad_value__names_the_variable_and_what_it_takes(setting, read, value, takes):
    setting(value)

    with pytest.raises(ImproperlyConfigured, match=f"SETTING.*{takes}"):
        read()


@pytest.mark.parametrize(
    ("read", "value", "mode"),
    [
        (env.file_mode, "640", 0o640),
        (env.file_mode, "0664", 0o664),
        (env.folder_mode, "750", 0o750),
        (env.folder_mode, "0777", 0o777),
    ],
)
def test_mode__is_read_as_octal_digits(setting, read, value, mode):
    setting(value)

    assert read("SETTING", 0) == mode


def test_url__loses_its_trailing_slash(setting):
    setting("https://images.example.org/")

    assert env.url("SETTING") == "https://images.example.org"


@pytest.mark.parametrize(
    ("bind", "host"), [("", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::1", "[::1]"), ("[::]", "[::]")]
)
def test_host__of_ipv6_has_brackets(monkeypatch, bind, host):
    monkeypatch.setenv("BIND", bind)

    assert env.host() == host


@pytest.mark.parametrize("value", ["0", "65536"])
def test_port__is_one_that_can_be_listened_at(monkeypatch, value):
    monkeypatch.setenv("PORT", value)

    with pytest.raises(ImproperlyConfigured, match=r"PORT.*from 1 to 65535"):
        env.port()


def test_data_folder__is_the_one_that_bin_dev_used_last(monkeypatch, tmp_path):
    monkeypatch.setattr(env, "REMEMBERED_DATA", tmp_path / "remembered")
    used = tmp_path / "data"
    used.mkdir()
    monkeypatch.setenv("LOCKNGEN_DATA", str(used))
    env.remember_data_folder()

    monkeypatch.setenv("LOCKNGEN_DATA", "")
    assert env.data_folder() == used
    monkeypatch.setenv("LOCKNGEN_DATA", ".data")
    assert env.data_folder() == env.BASE_DIR / ".data"
    monkeypatch.setenv("LOCKNGEN_DATA", "")
    used.rmdir()
    assert env.data_folder() == env.BASE_DIR / ".data"


def test_bin_dev__remembers_its_data_folder():
    assert "manage.py dev --remember-data" in (env.BASE_DIR / "bin/dev").read_text()


def test_development_database__that_fails_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("DEBUG", "on")
    monkeypatch.setattr(embedded, "running", Mock(side_effect=embedded.EmbeddedError("The password is missing.")))

    with pytest.raises(ImproperlyConfigured, match="password is missing"), env.development_database():
        pass


def test_development_database__is_not_bypassed_by_another_direct_url(monkeypatch):
    monkeypatch.setattr(embedded, "running", lambda _: nullcontext("postgres://lockn@/lockngen"))
    for name, value in {"DEBUG": "on", "DATABASE_URL": "", "DATABASE_DIRECT_URL": "postgres://a@b/c"}.items():
        monkeypatch.setenv(name, value)

    with env.development_database():
        assert os.environ["DATABASE_DIRECT_URL"] == ""


def test_items__are_separated_by_commas(setting):
    setting("a, b,,c")

    assert env.items("SETTING") == ["a", "b", "c"]


def test_text__has_no_quotes_around_it(setting):
    setting('"a, b"')

    assert env.items("SETTING") == ["a", "b"]


@pytest.fixture
def secret_file(tmp_path, monkeypatch):
    def write(content: bytes):
        (tmp_path / "secret").write_bytes(content)
        monkeypatch.setenv("SETTING_FILE", str(tmp_path / "secret"))

    return write


@pytest.mark.parametrize("content", [b"p@ss", b"p@ss\n", b"p@ss\r\n", b"\xef\xbb\xbfp@ss\n"])
def test_secret__of_a_file_has_no_newline_at_its_end(secret_file, content):
    secret_file(content)

    assert env.secret("SETTING") == "p@ss"


def test_secret__both_set_is_refused(setting, secret_file):
    setting("hunter1")
    secret_file(b"hunter2")

    with pytest.raises(ImproperlyConfigured, match=r"^SETTING and SETTING_FILE are both set: remove one of them\.$"):
        env.secret("SETTING")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\n", "which is empty"), (b"hunter2\xff", "can't be read: it is not UTF-8 text")]
)
def test_secret__bad_file_is_named_without_its_content(secret_file, content, reason):
    secret_file(content)

    with pytest.raises(
        ImproperlyConfigured, match=rf"SETTING_FILE is '.*secret', which.*{reason.split()[-1]}"
    ) as caught:
        env.secret("SETTING")
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("path", "reason"), [("/nowhere/key", "No such file or directory"), ("/", "Is a directory")])
def test_secret__unreadable_file_is_named(monkeypatch, path, reason):
    monkeypatch.setenv("SETTING_FILE", path)

    with pytest.raises(ImproperlyConfigured, match=rf"^SETTING_FILE is '{path}', which can't be read: {reason}\.$"):
        env.secret("SETTING")


@pytest.mark.parametrize(
    ("address", "password"), [("postgres://lockn@db/lockngen", "a@b/c#%"), ("postgres://lockn:own@db/lockngen", "own")]
)
def test_database__without_password_gets_postgres_password(setting, monkeypatch, address, password):
    setting(address)
    monkeypatch.setenv("POSTGRES_PASSWORD", "a@b/c#%")

    assert env.database("SETTING")["PASSWORD"] == password


def test_database__comes_from_a_file(secret_file):
    secret_file(b"postgres://lockn:own@db/lockngen\n")

    assert env.database("SETTING")["HOST"] == "db"


def test_env_file__that_cannot_be_read_is_reported_in_one_line(tmp_path):
    (tmp_path / "lockngen").mkdir()
    for name in ("environment", "env_file", "database_url"):
        shutil.copy(env.BASE_DIR / f"lockngen/{name}.py", tmp_path / "lockngen")
    (tmp_path / ".env").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", "import lockngen.environment"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/.env can't be read: Is a directory. Change its owner or remove it.\n"


STRONG = "not-a-secret-" + "0123456789" * 4
COMMANDS = {
    "manage.py": ["manage.py", "check"],
    "worker": ["manage.py", "procrastinate", "worker"],
    "gunicorn": ["-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.asgi"],
}


REFUSED = [
    ({"DEBUG": "off", "SECRET_KEY": ""}, "SECRET_KEY is not set"),
    ({"DEBUG": "off", "SECRET_KEY": "change-me"}, "SECRET_KEY can be guessed"),
    ({"DEBUG": "off", "SECRET_KEY": "x" * 60}, "SECRET_KEY can be guessed"),
    ({"DEBUG": "off", "SECRET_KEY": STRONG, "DATABASE_URL": ""}, "DATABASE_URL is not set"),
    ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/nowhere"}, "SECRET_KEY_FILE is '/nowhere'"),
    ({"DEBUG": "perhaps"}, "DEBUG is 'perhaps'"),
    ({"DB_POOL_MAX_SIZE": "many"}, "DB_POOL_MAX_SIZE is 'many'"),
]
START = [(command, *case) for command in COMMANDS for case in REFUSED]


@pytest.mark.parametrize(("variables", "expected"), REFUSED)
def test_settings__name_the_variable_that_is_wrong(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(expected)}.*$"):
        runpy.run_path(str(env.BASE_DIR / "lockngen/settings.py"))


@pytest.mark.parametrize(
    ("command", "variables", "expected"),
    [pytest.param(*case, marks=[pytest.mark.faults] if case[1:] != REFUSED[0] else []) for case in START],
)
def test_start__ends_with_one_line_that_states_what_to_set(command, variables, expected):
    done = subprocess.run(
        [sys.executable, *COMMANDS[command]],
        cwd=env.BASE_DIR,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_ssl_cert_file__that_is_empty_counts_as_unset():
    code = "import os, lockngen.environment; print('SSL_CERT_FILE' in os.environ)"
    variables = {**os.environ, "SSL_CERT_FILE": ""}

    done = subprocess.run([sys.executable, "-c", code], cwd=env.BASE_DIR, env=variables, capture_output=True, text=True)

    assert done.stdout.strip() == "False", done.stderr
