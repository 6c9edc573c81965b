"""The address of a server with OpenAI's images API: `openai://host:8000`, or `openais://` for TLS, and its key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from generations.renderers import options
from generations.renderers.http import address
from generations.renderers.http.address import Location, Product

OPENAI = Product("an OpenAI images API", "openai", 8000, "OPENAI_RENDERER_KEY")
STYLES = ("extended", "plain", "sdcpp")
# A key may end with =, but a host is followed by more.
KEY_OF_HOST = re.compile(r"([\w.:\[\]-]+)=([^=].*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    location: Location
    concurrency: int = 1
    """Most of these servers render one image at a time, and RENDER_TIMEOUT includes the wait for another."""
    models: tuple[str, ...] = ()
    """Ids or names of the offered models, the default first. Empty for all that the server lists."""
    fields: str = "extended"
    """How parameters that OpenAI doesn't have are sent: one of STYLES."""
    image_hosts: tuple[str, ...] = ()
    """Other hosts from which the server's images are fetched."""
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    """Parameters of its models."""


def _style(value: str) -> str:
    if value not in STYLES:
        raise ValueError(f"one of {', '.join(STYLES)}")
    return value


DEFAULTS = {"width": options.whole, "height": options.whole, "steps": options.whole, "guidance": options.number}
OPTIONS = {
    "concurrency": options.concurrency,
    "models": options.names,
    "fields": _style,
    "image_hosts": options.names,
    **DEFAULTS,
}


def parse(url: str) -> Address:
    """Parse a URL. Raises ValueError, whose message never contains a password of the URL."""
    location, query = address.parse(url, OPENAI)
    location = replace(location, place=location.place.removesuffix("/v1"))  # the base URL of OpenAI's clients ends so
    given = options.read(query, OPTIONS)
    defaults = {name: given.pop(name) for name in DEFAULTS if name in given}
    return Address(location, defaults=defaults, **given)


def authorization(keys: str, location: Location) -> str:
    """The value of the header Authorization for a server, from the setting OPENAI_RENDERER_KEY."""
    by_host = keys_by_host(keys)
    key = next((by_host[host] for host in hosts(location) if host in by_host), "")
    return key if not key or key.startswith(("Basic ", "Bearer ")) else f"Bearer {key}"


def hosts(location: Location) -> tuple[str, str, str]:
    """The hosts in OPENAI_RENDERER_KEY that apply to a server: with its port, without it, and all."""
    place = urlsplit(location.http)
    return place.netloc, place.hostname, ""


def keys_by_host(keys: str) -> dict[str, str]:
    """The keys of `host=key,host:port=key`, or one key for all servers, whose host is ""."""
    found = {}
    for each in filter(None, map(str.strip, keys.split(","))):
        pair = KEY_OF_HOST.fullmatch(each)
        found[pair[1].lower() if pair else ""] = pair[2] if pair else each
    return found
