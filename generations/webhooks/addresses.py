"""Which addresses a webhook may lead to: public ones, and those that WEBHOOK_ALLOWED_HOSTS lists.

An address is what a connection is made to, never the text of a URL. So other spellings of an address, and names that
lead to one, need no rules of their own.
"""

import asyncio
import re
import socket
from concurrent.futures import Future
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import BoundedSemaphore, Thread

import httpx
from django.conf import settings

from generations.submission import WEBHOOK_LENGTH
from lockngen import addresses

Address = IPv4Address | IPv6Address

# IANA's registries of special-purpose addresses. ipaddress.is_global, which depends on Python's version, has fewer.
NOT_PUBLIC = [
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure's metadata, at a public address
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # tunnels, which contain others, and documentation
    )
]
GLOBAL_UNICAST = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")  # an IPv4 address in an IPv6-only network
PORTS = {"http": 80, "https": 443}
# A name. One that ends in a number is another spelling of an IPv4 address.
HOST = re.compile(r"([a-z0-9_-]{1,63}\.)*(?!([0-9]+|0x[0-9a-f]*)\.?$)[a-z0-9_-]{1,63}\.?")
LOOKUP_TIMEOUT = 2.0  # seconds of a create call; a delivery has its own deadline
MAX_LOOKUPS = 100  # at once in a process
EVERY = "*"

_lookups = BoundedSemaphore(MAX_LOOKUPS)


class AddressRefused(ValueError):
    """The address is private, and the settings don't allow it."""


def parse(url: str) -> httpx.URL:
    """The parts of a webhook's URL. Raises ValueError with what is wrong."""
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
        is_host = HOST.fullmatch(host) or ("%" not in host and addresses.address(host))
        is_valid = parsed.scheme in PORTS and is_host and 0 < port(parsed) < 65536
    except (httpx.InvalidURL, ValueError):
        is_valid = False
    if not is_valid or len(url) > WEBHOOK_LENGTH:
        raise ValueError(
            f"it must be an http or https address of at most {WEBHOOK_LENGTH} characters, such as "
            "https://example.org/hook"
        )
    return parsed


def origin(url: httpx.URL) -> str:
    """Scheme, host and port: what may be logged and shown. The rest may contain a password or a token."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def port(url: httpx.URL) -> int:
    return PORTS[url.scheme] if url.port is None else url.port


def check(url: str) -> None:
    """Raise ValueError if the URL leads to an address that isn't allowed now.

    A name that can't be resolved in time is accepted: every delivery checks the address again.
    """
    parsed = parse(url)
    host = parsed.raw_host.decode("ascii")
    try:
        found = _lookup(host, port(parsed)).result(LOOKUP_TIMEOUT)
    except OSError:  # also a TimeoutError
        return
    allowed(host, found)


def is_entry(text: str) -> bool:
    return text == EVERY or bool(HOST.fullmatch(text.lower())) or addresses.network(text) is not None


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, all of them allowed. Raises AddressRefused, and OSError if there are none."""
    return allowed(host, await asyncio.wrap_future(_lookup(host, port)))


def allowed(host: str, found: list[Address]) -> list[Address]:
    """The found addresses of a host. Raises AddressRefused if any of them isn't allowed."""
    entries = settings.WEBHOOK_ALLOWED_HOSTS
    if EVERY in entries or host.lower() in map(str.lower, entries):
        return found
    networks = [network for entry in entries if (network := addresses.network(entry))]
    if not all(is_public(each) or any(each in network for network in networks) for each in found):
        raise AddressRefused("it leads to a private or reserved address, which WEBHOOK_ALLOWED_HOSTS doesn't allow")
    return found


@cache
def is_public(address: Address) -> bool:
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    is_known = address.version == 4 or address in GLOBAL_UNICAST
    return is_known and not any(address in network for network in NOT_PUBLIC)


def _lookup(host: str, port: int) -> Future:
    """Resolve a host in a thread of its own, which the caller may abandon: the system's resolver has no deadline."""
    if not _lookups.acquire(blocking=False):
        raise OSError("too many names are being resolved")
    future: Future = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # In the resolver's order. The scope of a link-local address is part of its text.
            future.set_result(list(dict.fromkeys(ip_address(row[4][0]) for row in rows)))
        except Exception as error:
            future.set_exception(error)
        finally:
            _lookups.release()

    Thread(target=run, name="webhook-lookup", daemon=True).start()
    return future
