"""Reads settings from the environment and from `.env`, which the environment overrides. An empty value counts as unset.

Every reader raises ImproperlyConfigured with one line that names the variable and what it takes. django-environ's
readers don't: they read DEBUG=perhaps as off and 1e3 as 13, and $NAME as another variable.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.checks.security.base import _check_secret_key
from django.core.exceptions import ImproperlyConfigured

from lockngen import database_url, env_file

BASE_DIR = Path(__file__).resolve().parent.parent
PRESTART_DONE = "LOCKNGEN_PRESTART_DONE"  # set for the web by `manage.py dev`, which replaces `prestart`
SHOW_REQUESTS = "LOCKNGEN_SHOW_REQUESTS"  # set for the web by `manage.py dev`, whose console shows requests
REMEMBERED_DATA = BASE_DIR / ".data-folder"  # written by bin/dev: the last value of LOCKNGEN_DATA
FLAGS = {
    **dict.fromkeys(("1", "on", "true", "yes"), True),
    **dict.fromkeys(("0", "off", "false", "no"), False),
}
MAX_INTEGER = 2**31 - 1
MAX_SECONDS = 2_000_000  # PostgreSQL's timeouts are 32-bit numbers of milliseconds

T = TypeVar("T")

env_file.load(BASE_DIR / ".env")
if os.environ.get("SSL_CERT_FILE") == "":  # OpenSSL would treat it as a file name, and trust no certificate
    del os.environ["SSL_CERT_FILE"]


def text(name: str, default: str = "") -> str:
    """The value without spaces and quotes around it: `docker run --env-file` keeps quotes."""
    value = os.environ.get(name, "").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value or default


def items(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def pairs(name: str, default: str = "") -> dict[str, str]:
    """Pairs of a name and a value, separated by commas."""
    found = [re.fullmatch(r"([^=\s]+)\s*=\s*([^=\s]+)", item) for item in items(name, default)]
    if None in found:
        raise ImproperlyConfigured(f"{name} is {text(name)!r}: it takes pairs such as name=value, separated by commas.")
    return {match[1]: match[2] for match in found}


def flag(name: str, default: bool = False) -> bool:
    return _read(name, default, lambda value: FLAGS.get(value.lower()), "on or off")


def integer(name: str, default: int, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
    limits = f"from {minimum} " + (f"to {maximum}" if maximum < MAX_INTEGER else "up")
    return _read(name, default, _between(int, minimum, maximum), f"a whole number {limits}")


def seconds(name: str, default: float, minimum: float = 0) -> float:
    return _read(name, default, _between(float, minimum, MAX_SECONDS), f"a number of seconds from {minimum:g} up")


def file_mode(name: str, default: int) -> int:
    """Permissions of a file. The owner must be able to read and write it."""
    return _read(name, default, _octal("[67]"), "three octal digits that start with 6 or 7, such as 640")


def folder_mode(name: str, default: int) -> int:
    """Permissions of a folder. The owner must be able to list, change and enter it."""
    return _read(name, default, _octal("7"), "three octal digits that start with 7, such as 750")


def url(name: str) -> str:
    """An http(s) URL without its trailing slash, or an empty string."""
    value = text(name).rstrip("/")
    try:
        is_valid = re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", value) and urlsplit(value).hostname
        is_valid = is_valid and urlsplit(value).port != 0
    except ValueError:  # the port
        is_valid = False
    if value and not is_valid:
        # The value may hold a password.
        raise ImproperlyConfigured(f"{name} can't be read: it takes an address such as https://images.example.org.")
    return value


def origins_of(public_url: str) -> list[str]:
    """The origin of a URL, as browsers send it."""
    parts = urlsplit(public_url.lower())
    default_port = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{default_port}")
    return [f"{parts.scheme}://{host}"] if host else []


def hosts_of(public_url: str) -> list[str]:
    """The host of a URL, without its port."""
    host = urlsplit(public_url).hostname
    return [f"[{host}]" if ":" in host else host] if host else []


def secret(name: str) -> str:
    """The value of a variable, or the content of the file that `NAME_FILE` names, without its final newline."""
    value, path = text(name), text(f"{name}_FILE")
    if not path:
        return value
    if value:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: remove one of them.")
    try:
        value = (BASE_DIR / path).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ImproperlyConfigured(f"{name}_FILE is {path!r}, which can't be read: {reason}.") from None
    if not value:
        raise ImproperlyConfigured(f"{name}_FILE is {path!r}, which is empty: write the secret into it.")
    return value


def required(name: str, remedy: str) -> str:
    if value := secret(name):
        return value
    raise ImproperlyConfigured(f"{name} is not set: {remedy}")


def secret_key(name: str) -> str:
    """A secret that must be strong unless DEBUG is on: sessions and signed URLs depend on it."""
    remedy = "set it to 50 or more random characters, such as openssl rand -hex 32 prints, and keep it secret."
    # Django has no public function that checks a key, and there are no settings yet.
    key = required(name, remedy)
    if not (flag("DEBUG") or _check_secret_key(key)):
        raise ImproperlyConfigured(f"{name} can be guessed, as it is short or repeats a few characters: {remedy}")
    return key


def database(name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings of the database that the URL names."""
    remedy = "set it to postgres://user:password@host:5432/name, or DEBUG=on to use the embedded PostgreSQL."
    parsed = database_url.parse(name, required(name, remedy))
    return {**parsed, "PASSWORD": parsed["PASSWORD"] or secret("POSTGRES_PASSWORD")}


def host() -> str:
    """BIND: the address to listen on, an IPv6 one in brackets as in a URL."""
    address = text("BIND", "127.0.0.1")
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def port() -> int:
    return integer("PORT", 8000, minimum=1, maximum=65535)


def data_folder() -> Path:
    """LOCKNGEN_DATA, or its value at the last `bin/dev`: for the embedded PostgreSQL and, by default, the images."""
    remembered = ""
    with suppress(OSError):
        remembered = REMEMBERED_DATA.read_text(encoding="utf-8").strip()
    if not Path(remembered).is_dir():
        remembered = ""
    return (BASE_DIR / (text("LOCKNGEN_DATA") or remembered or ".data")).absolute()


def remember_data_folder() -> None:
    """Use this data folder in later commands of this checkout that have no LOCKNGEN_DATA."""
    REMEMBERED_DATA.write_text(f"{data_folder()}\n", encoding="utf-8")


@contextmanager
def development_database() -> Iterator[str | None]:
    """Run the embedded PostgreSQL as DATABASE_URL during the context, if there is none and DEBUG is on."""
    if secret("DATABASE_URL") or not flag("DEBUG"):
        yield None
        return
    from lockngen.database import embedded  # not needed in production

    try:
        with embedded.running(data_folder()) as address:
            # An empty DATABASE_DIRECT_URL, so that `migrate` does not migrate another database.
            os.environ.update(DATABASE_URL=address, DATABASE_DIRECT_URL="", DATABASE_DIRECT_URL_FILE="")
            yield address
    except embedded.EmbeddedError as error:
        raise ImproperlyConfigured(str(error)) from None


def _read(name: str, default: T, parse: Callable[[str], T | None], takes: str) -> T:
    """The parsed value. `parse` returns None or raises ValueError if it is invalid."""
    if not (value := text(name)):
        return default
    parsed = None
    with suppress(ValueError):
        parsed = parse(value)
    if parsed is None:
        raise ImproperlyConfigured(f"{name} is {value!r}: it takes {takes}.")
    return parsed


def _between(number: Callable[[str], Any], minimum: float, maximum: float) -> Callable[[str], Any]:
    # NaN compares false with every number, so it is invalid.
    return lambda value: parsed if minimum <= (parsed := number(value)) <= maximum else None


def _octal(first_digit: str) -> Callable[[str], int | None]:
    return lambda value: int(value, 8) if re.fullmatch(f"0?{first_digit}[0-7][0-7]", value) else None
