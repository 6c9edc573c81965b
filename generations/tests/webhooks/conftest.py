"""Deliveries to real receivers on this machine."""

import socket
from datetime import UTC, datetime

import pytest

from generations.tests.support.deliveries import run
from generations.tests.support.receiver import Receiver
from generations.webhooks.delivery import Postponed
from generations.webhooks.models import WebhookDelivery


@pytest.fixture
def loopback(settings):
    """Webhooks may reach this machine, where a receiver has a second to answer."""
    settings.WEBHOOK_ALLOWED_HOSTS, settings.WEBHOOK_TIMEOUT = ["127.0.0.1"], 1


@pytest.fixture
def make_receiver(loopback):
    started = []

    def make(*answers) -> Receiver:
        started.append(Receiver(*answers))
        return started[-1]

    yield make
    for receiver in started:
        receiver.close()


@pytest.fixture
def make_delivery(make_webhook_generation):
    """A delivery of the event `completed` of a cancelled generation."""

    def make(receiver: Receiver | None = None, **fields) -> WebhookDelivery:
        url = receiver.url if receiver else fields.pop("url")
        generation = make_webhook_generation(url, ["completed"], **fields)
        generation.cancel()
        return generation.webhook_deliveries.get()

    return make


@pytest.fixture
def attempt():
    """Run the task of a delivery once, and return what it raised for the queue."""

    def attempt(delivery: WebhookDelivery) -> Postponed | None:
        try:
            run(delivery)
        except Postponed as postponed:
            postponed.seconds = (postponed.until - datetime.now(UTC)).total_seconds()
            return postponed
        finally:
            delivery.refresh_from_db()
        return None

    return attempt


@pytest.fixture
def resolve_as(monkeypatch):
    """Let a name have these addresses, one list for each resolution; the last one stays. Returns the names resolved."""
    names, real = {}, socket.getaddrinfo
    resolved = []

    def getaddrinfo(host, port, *args, **options):
        if host not in names:
            return real(host, port, *args, **options)
        resolved.append(host)
        found = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port)) for ip in found]

    def set_addresses(name: str, *found: list[str]) -> list[str]:
        names[name] = list(found)
        return resolved

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return set_addresses
