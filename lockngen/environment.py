"""Reads `.env` and the environment, which wins, for everything else here. An empty value counts as unset.

Every reader raises ImproperlyConfigured with one line that names the variable and what it takes.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
PRESTART_DONE = "LOCKNGEN_PRESTART_DONE"  # `manage.py dev` tells the web that it has done what `prestart` does
TRUE = {"1", "on", "true", "yes"}
FALSE = {"0", "off", "false", "no"}

T = TypeVar("T")

try:
    # Opened here: read_env() takes a file that it can't open for one that isn't there.
    with suppress(FileNotFoundError), open(BASE_DIR / ".env", encoding="utf-8") as file:
        environ.Env.read_env(file)
except OSError as error:
    raise SystemExit(f"{error.filename} can't be read: {error.strerror}. Change its owner or remove it.") from None


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool = False) -> bool:
    return _parse(name, default, _flag, "on or off")


def integer(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    limits = f"from {minimum} " + (f"to {maximum}" if maximum < 2**31 - 1 else "up")
    return _parse(name, default, _between(int, minimum, maximum), f"a whole number {limits}")


def seconds(name: str, default: float, minimum: float = 0) -> float:
    # PostgreSQL's timeouts are 32-bit numbers of milliseconds.
    return _parse(name, default, _between(float, minimum, 2_000_000), f"a number of seconds from {minimum:g} up")


def items(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def url(name: str) -> str:
    """An http(s) address without its trailing slash, empty where there is none."""
    value = text(name).rstrip("/")
    if value and not re.fullmatch(r"https?://[^/\s?#]+[^\s?#]*", value):
        raise ImproperlyConfigured(f"{name} is {value!r}: it takes an address such as https://images.example.org.")
    return value


def required(name: str, remedy: str) -> str:
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: {remedy}")
    return value


def database(name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings of the database that a URL `postgres://user:password@host:port/name` names."""
    address = required(
        name, "set it to postgres://user:password@host:5432/name, or DEBUG=on to use the embedded PostgreSQL."
    )
    try:
        parsed = environ.Env.db_url_config(address)
    except Exception:
        parsed = {}
    # The value holds a password, so the message doesn't repeat it.
    if parsed.get("ENGINE") != "django.db.backends.postgresql" or not parsed.get("NAME"):
        raise ImproperlyConfigured(f"{name} can't be read: it takes postgres://user:password@host:5432/name.")
    return {**parsed, "ENGINE": "lockngen.postgresql"}


def host() -> str:
    """BIND: the address to listen at, an IPv6 one in brackets as in a URL."""
    address = text("BIND", "127.0.0.1")
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def port() -> int:
    return integer("PORT", 8000, minimum=1, maximum=65535)


def listen_address() -> str:
    return f"{host()}:{port()}"


def data_folder() -> Path:
    """LOCKNGEN_DATA: where the embedded PostgreSQL and, by default, the images live."""
    return (BASE_DIR / text("LOCKNGEN_DATA", ".data")).absolute()


@contextmanager
def development_database() -> Iterator[str | None]:
    """The embedded PostgreSQL as DATABASE_URL while this lasts, where there is none and DEBUG is on."""
    if text("DATABASE_URL") or not flag("DEBUG"):
        yield None
        return
    from lockngen import embedded  # production has no need of it

    try:
        with embedded.running(data_folder()) as address:
            os.environ.update(DATABASE_URL=address, DATABASE_DIRECT_URL="")  # nor migrate another by mistake
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


def _flag(value: str) -> bool:
    if value.lower() not in TRUE | FALSE:
        raise ValueError(value)
    return value.lower() in TRUE


def _between(number: Callable[[str], Any], minimum: float, maximum: float) -> Callable[[str], Any]:
    def parse(value: str) -> Any:
        parsed = number(value)
        # Written so that NaN, which compares false with everything, is refused.
        if not minimum <= parsed <= maximum:
            raise ValueError(value)
        return parsed

    return parse
