"""The client's address behind trusted proxies."""

from functools import cache

from django.conf import settings
from django.http import HttpRequest

from lockngen import addresses


def client_address(request: HttpRequest) -> str:
    """The last address in the forwarding chain that is not a trusted proxy's.

    Each proxy appends the address of its client to X-Forwarded-For. The list is read from its end while its entries
    come from trusted proxies; a client can send anything before that.
    """
    address = request.META.get("REMOTE_ADDR", "")
    hops = request.headers.get("X-Forwarded-For", "").split(",")
    while hops and _is_trusted(address) and addresses.address(hop := hops.pop().strip()):
        address = hop
    return address


def _is_trusted(text: str) -> bool:
    address, proxies = addresses.address(text), settings.TRUSTED_PROXIES
    return "*" in proxies or (address is not None and any(address in network for network in _networks(*proxies)))


@cache
def _networks(*proxies: str) -> list:
    return [addresses.network(proxy) for proxy in proxies]
