"""Reads `.env` and the environment, which wins, for everything else here. An empty value counts as unset.

Every reader raises ImproperlyConfigured with one line that names the variable and what it takes.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.checks.security.base import _check_secret_key
from django.core.exceptions import ImproperlyConfigured

from lockngen import database_url, env_file

BASE_DIR = Path(__file__).resolve().parent.parent
PRESTART_DONE = "LOCKNGEN_PRESTART_DONE"  # `manage.py dev` tells the web that it has done what `prestart` does
TRUE = {"1", "on", "true", "yes"}
FALSE = {"0", "off", "false", "no"}

SHOW_REQUESTS = "LOCKNGEN_SHOW_REQUESTS"  # set for the web by `manage.py dev`, whose console shows requests
REMEMBERED_DATA = BASE_DIR / ".data-folder"  # written by bin/dev: the folder that LOCKNGEN_DATA named last

T = TypeVar("T")

try:
    env_file.load(BASE_DIR / ".env")
except env_file.EnvFileError as error:
    raise SystemExit(str(error)) from None
if os.environ.get("SSL_CERT_FILE") == "":  # OpenSSL takes it for the name of a file, and then trusts nobody
    del os.environ["SSL_CERT_FILE"]


def text(name: str, default: str = "") -> str:
    """The value without spaces and quotes around it: `docker run --env-file` passes quotes on."""
    value = os.environ.get(name, "").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value or default


def flag(name: str, default: bool = False) -> bool:
    return _parse(name, default, _flag, "on or off")


def integer(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    limits = f"from {minimum} " + (f"to {maximum}" if maximum < 2**31 - 1 else "up")
    return _parse(name, default, _between(int, minimum, maximum), f"a whole number {limits}")


def seconds(name: str, default: float, minimum: float = 0) -> float:
    # PostgreSQL's timeouts are 32-bit numbers of milliseconds.
    return _parse(name, default, _between(float, minimum, 2_000_000), f"a number of seconds from {minimum:g} up")


def file_mode(name: str, default: int) -> int:
    """Permissions of a file in octal digits. The owner must be able to read and write it."""
    return _parse(name, default, _mode_with(0o600), "three octal digits that start with 6 or 7, such as 640")


def folder_mode(name: str, default: int) -> int:
    """Permissions of a folder in octal digits. The owner must be able to list, change and enter it."""
    return _parse(name, default, _mode_with(0o700), "three octal digits that start with 7, such as 750")


def items(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def url(name: str) -> str:
    """An http(s) address without its trailing slash, empty where there is none."""
    value = text(name).rstrip("/")
    if value and not (re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", value) and _has_valid_port(value)):
        # The value may hold a password.
        raise ImproperlyConfigured(f"{name} can't be read: it takes an address such as https://images.example.org.")
    return value


def origins_of(public_url: str) -> list[str]:
    """The origin of an address, as browsers send it."""
    parts = urlsplit(public_url.lower())
    default_port = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{default_port}")
    return [f"{parts.scheme}://{host}"] if host else []


def hosts_of(public_url: str) -> list[str]:
    """The host of an address, without its port."""
    host = urlsplit(public_url).hostname
    return [f"[{host}]" if ":" in host else host] if host else []


def secret(name: str) -> str:
    """The value of a variable, or the contents of the file that `NAME_FILE` names, without the newline at its end."""
    path = text(f"{name}_FILE")
    if not path:
        return text(name)
    if text(name):
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
    value = secret(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: {remedy}")
    return value


def secret_key(name: str) -> str:
    """A secret, which has to be strong unless DEBUG is on: sessions and signed addresses depend on it."""
    remedy = "set it to 50 or more random characters, such as openssl rand -hex 32 prints, and keep it secret."
    # Upstream would have to offer: a public form of its check that takes a key, as there are no settings yet.
    key = required(name, remedy)
    if not (flag("DEBUG") or _check_secret_key(key)):
        raise ImproperlyConfigured(f"{name} can be guessed, as it is short or repeats a few characters: {remedy}")
    return key


def database(name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings of the database that a URL `postgres://user:password@host:port/name` names."""
    address = required(
        name, "set it to postgres://user:password@host:5432/name, or DEBUG=on to use the embedded PostgreSQL."
    )
    parsed = database_url.parse(name, address)
    return {**parsed, "PASSWORD": parsed.get("PASSWORD") or secret("POSTGRES_PASSWORD")}


def host() -> str:
    """BIND: the address to listen at, an IPv6 one in brackets as in a URL."""
    address = text("BIND", "127.0.0.1")
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def port() -> int:
    return integer("PORT", 8000, minimum=1, maximum=65535)


def listen_address() -> str:
    return f"{host()}:{port()}"


def data_folder() -> Path:
    """LOCKNGEN_DATA, or its value at the last `bin/dev`: for the embedded PostgreSQL and, by default, the images."""
    return (BASE_DIR / (text("LOCKNGEN_DATA") or _remembered_data() or ".data")).absolute()


def remember_data_folder() -> None:
    """Use this data folder in later commands of this checkout that have no LOCKNGEN_DATA."""
    REMEMBERED_DATA.write_text(f"{data_folder()}\n", encoding="utf-8")


def _remembered_data() -> str:
    try:
        folder = REMEMBERED_DATA.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return folder if folder and Path(folder).is_dir() else ""


@contextmanager
def development_database() -> Iterator[str | None]:
    """The embedded PostgreSQL as DATABASE_URL while this lasts, where there is none and DEBUG is on."""
    if secret("DATABASE_URL") or not flag("DEBUG"):
        yield None
        return
    from lockngen.database import embedded  # production has no need of it

    try:
        with embedded.running(data_folder()) as address:
            os.environ.update(
                DATABASE_URL=address, DATABASE_DIRECT_URL="", DATABASE_DIRECT_URL_FILE=""
            )  # nor migrate another by mistake
            yield address
    except embedded.EmbeddedError as error:
        raise ImproperlyConfigured(str(error)) from None


def _parse(name: str, default: T, parse: Callable[[str], T], takes: str) -> T:
    value = text(name)
    if not value:
        return default
    try:
        return parse(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}: it takes {takes}.") from None


def _has_valid_port(value: str) -> bool:
    try:
        return bool(urlsplit(value).hostname) and urlsplit(value).port != 0
    except ValueError:
        return False


def _flag(value: str) -> bool:
    if value.lower() not in TRUE | FALSE:
        raise ValueError(value)
    return value.lower() in TRUE


def _mode_with(required_bits: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        mode = int(value, 8) if re.fullmatch(r"0?[0-7]{3}", value, re.ASCII) else 0
        if mode & required_bits != required_bits:
            raise ValueError(value)
        return mode

    return parse


def _between(number: Callable[[str], Any], minimum: float, maximum: float) -> Callable[[str], Any]:
    def parse(value: str) -> Any:
        parsed = number(value)
        # Written so that NaN, which compares false with everything, is refused.
        if not minimum <= parsed <= maximum:
            raise ValueError(value)
        return parsed

    return parse
