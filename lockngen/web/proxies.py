"""The client's address behind trusted proxies."""

from functools import cache
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The last address in the forwarding chain that is not a trusted proxy's.

    Each proxy appends to X-Forwarded-For whom it got the request from, so the list is read from its end and only as
    long as those who wrote it are trusted: what stands before that, anybody can have sent.
    """
    address = request.META.get("REMOTE_ADDR", "")
    hops = request.headers.get("X-Forwarded-For", "").split(",")
    while hops and _is_trusted(address) and _is_address(hop := hops.pop().strip()):
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _is_trusted(address: str) -> bool:
    proxies = settings.TRUSTED_PROXIES
    if "*" in proxies or not _is_address(address):
        return "*" in proxies
    return any(ip_address(address) in network for network in _networks(*proxies))


@cache
def _networks(*proxies: str) -> list:
    return [ip_network(proxy) for proxy in proxies]
