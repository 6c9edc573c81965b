"""One request: it reaches only the address that was checked, whatever names resolve to, and TLS verifies the name."""

import asyncio
import shutil
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from generations.tests.support.certificates import make_certificate
from generations.tests.support.receiver import Receiver
from generations.webhooks import addresses, sending
from generations.webhooks.sending import send


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def post_to(url: str) -> sending.Outcome:
    return asyncio.run(send(url, {"webhook-id": "1"}, b"{}"))


def test_send__refuses_a_name_that_leads_elsewhere_since_it_was_accepted(resolve_as, receiver):
    resolve_as("hook.example", ["8.8.8.8"], ["127.0.0.1"])
    url = f"http://hook.example:{receiver.server_port}/"
    addresses.check(url)

    outcome = post_to(url)

    assert outcome.is_final
    assert "WEBHOOK_ALLOWED_HOSTS" in outcome.error
    assert receiver.received == []


def test_send__connects_to_the_address_that_it_has_checked(resolve_as, receiver, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    resolved = resolve_as("hook.example", ["127.0.0.1"], ["169.254.169.254"])

    outcome = post_to(f"http://hook.example:{receiver.server_port}/a?b=c")

    assert (outcome.status, outcome.error) == (204, None)
    assert resolved == ["hook.example"]
    (request,) = receiver.received
    assert (request.headers["host"], request.path) == (f"hook.example:{receiver.server_port}", "/a?b=c")


def test_send__connects_to_the_next_address_if_one_is_unreachable(resolve_as, receiver, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.0/8"]
    resolve_as("hook.example", ["127.0.0.99", "127.0.0.1"])

    assert post_to(f"http://hook.example:{receiver.server_port}/").error is None


@pytest.mark.parametrize("found", [["10.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::ffff:127.0.0.1"], ["fe80::1%2"]])
def test_send__refuses_private_addresses(resolve_as, found):
    resolve_as("hook.example", found)

    assert post_to("https://hook.example/").is_final


def test_send__retries_a_name_that_is_unknown_at_the_moment(resolve_as):
    resolve_as("hook.example", [])

    outcome = post_to("https://hook.example/")

    assert not outcome.is_final
    assert "Name or service not known" in outcome.error


def test_send__does_not_wait_longer_for_a_resolver_than_for_a_receiver(monkeypatch, settings):
    settings.WEBHOOK_TIMEOUT = 0.1
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: release.wait(10) and [])

    assert post_to("https://hook.example/").error == "it did not answer within 0.1 seconds"

    release.set()


def test_send__ignores_proxies_of_the_environment(monkeypatch, receiver, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert post_to(receiver.url).error is None


@contextmanager
def with_tls(receiver: Receiver, name: str, monkeypatch, folder):
    """Serve a certificate for this name, which `send` trusts."""
    certificate = make_certificate(folder, name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    receiver.socket = server.wrap_socket(receiver.socket, server_side=True)
    monkeypatch.setattr(sending, "_tls", lambda: ssl.create_default_context(cafile=certificate))
    yield f"https://hook.example:{receiver.server_port}/"


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate with")
@pytest.mark.parametrize(("name", "is_valid"), [("hook.example", True), ("other.example", False)])
def test_send__verifies_the_name_of_the_certificate(
    resolve_as, receiver, settings, monkeypatch, tmp_path, name, is_valid
):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    resolve_as("hook.example", ["127.0.0.1"])

    with with_tls(receiver, name, monkeypatch, tmp_path) as url:
        outcome = post_to(url)

    assert (outcome.error is None) == is_valid
    assert is_valid or "certificate" in outcome.error
    assert len(receiver.received) == is_valid
