"""No webhook reaches an address that isn't allowed, however it is written and whatever names resolve to."""

import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from generations.tests.support.calls import assert_problem, post
from generations.webhooks import addresses
from generations.webhooks.addresses import AddressRefused, is_public

PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    "168.63.129.16",
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "100::1", "2001::1", "2001:2::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1"),
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "64:ff9b::808:808",
]

private_ipv4 = st.one_of(
    st.integers(int(network[0]), int(network[-1])).map(IPv4Address)
    for network in addresses.NOT_PUBLIC
    if network.version == 4
)


def spellings(address: IPv4Address) -> list[str]:
    """Hosts of URLs that lead to this address, by inet_aton's rules or inside of an IPv6 address."""
    number, (a, b, c, d) = int(address), address.packed
    mapped, low = f"{number >> 16:x}:{number & 0xFFFF:x}", number & 0xFFFFFF
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{low}",
        f"{a}.{b}.{low & 0xFFFF}",
        f"{a}.0x{low:X}",
        *(f"[{prefix}{mapped}]" for prefix in ("::ffff:", "::", "64:ff9b::", "0:0:0:0:0:FFFF:")),
        f"[::ffff:{address}]",
        f"[2002:{mapped}::1]",
        "".join(chr(0xFEE0 + ord(digit)) if digit.isdigit() else digit for digit in str(address)),  # full-width digits
    ]


@pytest.mark.parametrize("text", PRIVATE)
def test_address__that_is_private_or_reserved_is_not_public(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_address__that_is_public(text):
    assert is_public(ip_address(text))


@given(st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)))
def test_public__is_never_more_than_what_the_standard_library_calls_global(address):
    embedded = address in addresses.NAT64
    if is_public(address) and not embedded:
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_loopback, address.is_link_local))


@limits(max_examples=60, deadline=None)
@given(private_ipv4, st.sampled_from(["http", "https"]), st.sampled_from(["", "user:pass@", "example.org@"]))
@example(IPv4Address("127.0.0.1"), "http", "")
@example(IPv4Address("169.254.169.254"), "http", "")
def test_check__refuses_a_private_address_in_every_spelling(address, scheme, user):
    for host in spellings(address):
        with pytest.raises(ValueError, match=r"^it (leads to a private|must be an http)"):
            addresses.check(f"{scheme}://{user}{host}:8080/hook")


@limits(max_examples=300, deadline=None)
@given(
    st.text(st.characters(min_codepoint=1), max_size=40),
    st.sampled_from(["http://", "https://", "", "//", "HTTP:\\\\"]),
)
def test_parse__returns_a_host_or_raises_a_value_error(text, start):
    try:
        url = addresses.parse(start + text)
    except ValueError:
        return
    assert url.scheme in ("http", "https")
    assert urlsplit(f"//{url.netloc.decode('ascii')}").hostname
    assert 0 < addresses.port(url) < 65536


def test_check__refuses_a_name_that_leads_to_a_private_address(resolve_as):
    resolve_as("hook.example", ["8.8.8.8", "10.0.0.1"])

    with pytest.raises(AddressRefused):
        addresses.check("https://hook.example/")
    with pytest.raises(AddressRefused):
        addresses.check("https://localhost/")


def test_check__accepts_a_name_that_is_public_or_unknown_at_the_moment(resolve_as):
    resolve_as("hook.example", ["8.8.8.8"])
    resolve_as("nowhere.example", [])

    addresses.check("https://hook.example/")
    addresses.check("https://nowhere.example/")


def test_check__does_not_wait_for_a_resolver_that_hangs(monkeypatch):
    monkeypatch.setattr(addresses, "LOOKUP_TIMEOUT", 0.05)
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: release.wait(10) and [])

    for _ in range(addresses.MAX_LOOKUPS + 5):  # the threads are limited
        addresses.check("https://hook.example/")
        monkeypatch.setattr(addresses, "LOOKUP_TIMEOUT", 0)

    release.set()


@pytest.mark.parametrize(
    ("entries", "host", "found", "is_allowed"),
    [
        (["n8n"], "n8n", "10.0.0.5", True),
        (["N8N.local"], "n8n.LOCAL", "10.0.0.5", True),
        (["n8n"], "n8n.example", "10.0.0.5", False),
        (["10.0.0.0/8"], "n8n", "10.0.0.5", True),
        (["10.0.0.0/8"], "n8n", "11.0.0.5", True),  # public
        (["10.0.0.0/8"], "n8n", "192.168.0.1", False),
        (["127.0.0.1"], "localhost", "127.0.0.1", True),
        (["127.0.0.1"], "localhost", "127.0.0.2", False),
        (["127.0.0.1"], "localhost", "::1", False),
        (["127.0.0.1"], "localhost", "::ffff:127.0.0.1", False),
        (["*"], "anything", "169.254.169.254", True),
        ([], "anything", "8.8.8.8", True),
    ],
)
def test_allowed__is_what_the_setting_lists(settings, entries, host, found, is_allowed):
    settings.WEBHOOK_ALLOWED_HOSTS = entries

    def allowed() -> bool:
        try:
            return addresses.allowed(host, [ip_address(found)]) == [ip_address(found)]
        except AddressRefused:
            return False

    assert allowed() == is_allowed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::ffff:7f00:1]/", "http://localhost:8000/", "https://0.0.0.0/", "http://[::]/"],
)
def test_create__refuses_a_private_address(api, url):
    answer = post(api, {"prompt": "a cat", "webhook": url})

    assert_problem(answer, 422, "webhook: it leads to a private or reserved address")
    assert answer.json()["errors"][0]["field"] == "webhook"


def test_networks__are_those_of_the_registries():
    assert ip_network("127.0.0.0/8") in addresses.NOT_PUBLIC
    assert all(not is_public(network[0]) and not is_public(network[-1]) for network in addresses.NOT_PUBLIC)
