import pytest
from django.test import RequestFactory

from lockngen.web.proxies import client_address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # not our proxy: its header is not trusted
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what the client claimed comes first
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 172.16.3.4", "198.51.100.1"),  # through two proxies of ours
        ("10.0.0.1", "172.16.3.4", "172.16.3.4"),
        ("10.0.0.1", "1.1.1.1, nonsense\x1b[2J", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("::1", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_client__is_the_last_address_that_is_no_trusted_proxy(settings, peer, forwarded, client):
    settings.TRUSTED_PROXIES = ["10.0.0.1", "172.16.0.0/12", "::1"]
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}

    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)) == client


def test_client__is_the_first_address_where_everybody_is_trusted(settings):
    settings.TRUSTED_PROXIES = ["*"]
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "1.1.1.1, 2.2.2.2"}, REMOTE_ADDR="")

    assert client_address(request) == "1.1.1.1"
