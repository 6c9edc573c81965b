"""What receivers get: the generation as it is now, signed."""

import json
import logging
import re
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now
from jsonschema import Draft202012Validator
from replicate.webhook import Webhooks, WebhookSigningSecret, WebhookValidationError

from generations.webhooks import signature
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.signature import WebhookSecret
from lockngen import urls
from lockngen.environment import BASE_DIR
from lockngen.tests.support.processes import Process, free_port

pytestmark = pytest.mark.django_db(transaction=True)

State = WebhookDelivery.State


def test_delivery__sends_the_generation_as_it_is_now(make_receiver, make_webhook_generation, api, attempt):
    receiver = make_receiver()
    generation = make_webhook_generation(receiver.url, ["start", "completed"])
    number = generation.start()
    start = generation.webhook_deliveries.get()
    generation.complete(number, image_path="a.png", seed=7)

    attempt(start)

    (request,) = receiver.received
    shown = api.get(f"/api/v1/generations/{generation.pk}").json()
    assert request.path == "/hook?token=s3cret"
    assert request.headers["content-type"] == "application/json"
    assert request.json["type"] == "generation.start"
    assert datetime.fromisoformat(request.json["timestamp"]) == start.created_at.replace(
        microsecond=start.created_at.microsecond // 1000 * 1000
    )
    data = json.loads(request.body.replace(b"http://lockn.example", b"http://testserver"))["data"]
    assert data.pop("signed_urls").keys() == shown.pop("signed_urls").keys()
    assert data == shown
    assert (data["status"], data["progress"], data["seed"]) == ("completed", 100, 7)


@pytest.fixture
def documented_receiver(tmp_path, loopback):
    """Run the receiver of docs/webhooks.md with a secret, and return its address and its output."""
    started = []

    def run(secret: str) -> tuple[str, Callable[[], str]]:
        port, log = free_port(), tmp_path / "log"
        code = re.search(r"```py\n(.*?)```", (BASE_DIR / "docs/webhooks.md").read_text(), re.DOTALL)[1]
        code = code.replace("whsec_…", secret).replace("8080", str(port))
        started.append(Process([sys.executable, "-c", code], log))
        started[-1].wait_until(lambda: is_listening(port))
        return f"http://127.0.0.1:{port}/", log.read_text

    yield run
    for process in started:
        process.kill()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_receiver_of_the_documentation__verifies_the_event(documented_receiver, make_delivery, key, attempt):
    url, output = documented_receiver(WebhookSecret.objects.of(key).secret)
    delivery = make_delivery(url=url)

    attempt(delivery)

    assert (delivery.state, delivery.last_status) == (State.DELIVERED, 204)
    assert f"generation.completed {delivery.generation_id} cancelled" in output()


def test_receiver_of_the_documentation__refuses_another_secret(documented_receiver, make_delivery, attempt):
    url, _ = documented_receiver(signature.make())
    delivery = make_delivery(url=url)

    attempt(delivery)

    assert (delivery.state, delivery.last_status) == (State.PENDING, 400)


def test_delivery__is_what_the_openapi_document_describes(make_receiver, make_delivery, attempt):
    receiver = make_receiver()
    document = urls.api.get_openapi_schema()
    described = document["webhooks"]["generation"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]

    attempt(make_delivery(receiver))

    (request,) = receiver.received
    Draft202012Validator({**schema, "components": document["components"]}).validate(request.json)
    assert {parameter["name"] for parameter in described["parameters"]} <= request.headers.keys()


def test_delivery__links_begin_with_the_public_address(make_receiver, make_delivery, settings, attempt):
    settings.PUBLIC_URL = "https://images.example.org/lockn"
    receiver = make_receiver()

    attempt(make_delivery(receiver))

    events = receiver.received[0].json["data"]["signed_urls"]["events"]
    assert events.startswith("https://images.example.org/lockn/api/v1/generations/")


def test_delivery__has_signed_addresses_that_begin_to_age_when_it_is_sent(
    make_receiver, make_delivery, settings, attempt
):
    settings.SIGNED_URL_LIFETIME = 3600
    receiver, delivery = make_receiver(), None
    delivery = make_delivery(receiver)
    WebhookDelivery.objects.update(created_at=Now() - timedelta(hours=5))

    attempt(delivery)

    expires_at = datetime.fromisoformat(receiver.received[0].json["data"]["signed_urls"]["expires_at"])
    assert expires_at - datetime.now(UTC) > timedelta(minutes=59)


def test_signature__is_valid_by_the_library(make_receiver, make_delivery, key, attempt):
    receiver = make_receiver()
    delivery = make_delivery(receiver)

    attempt(delivery)

    (request,) = receiver.received
    assert request.is_signed_by(WebhookSecret.objects.of(key).secret)
    assert request.id == str(delivery.pk)
    with pytest.raises(Exception, match="No matching signature"):
        request.is_signed_by(signature.make())


def test_signature__is_valid_by_the_client_of_replicate(make_receiver, make_delivery, key, attempt):
    receiver = make_receiver()
    attempt(make_delivery(receiver))
    (request,) = receiver.received
    secret = WebhookSigningSecret(key=WebhookSecret.objects.of(key).secret)

    Webhooks.validate(headers=request.headers, body=request.body.decode(), secret=secret, tolerance=300)

    with pytest.raises(WebhookValidationError):
        Webhooks.validate(headers=request.headers, body="{}", secret=secret)


def test_signature__is_also_that_of_the_previous_secret_during_its_grace(make_receiver, make_delivery, key, attempt):
    receiver = make_receiver()
    secret = WebhookSecret.objects.of(key)
    before = secret.secret
    secret.rotate()

    attempt(make_delivery(receiver))
    WebhookSecret.objects.update(rotated_at=Now() - signature.GRACE)
    attempt(make_delivery(receiver))

    during, after = receiver.received
    assert during.is_signed_by(before)
    assert during.is_signed_by(secret.secret)
    assert after.is_signed_by(secret.secret)
    with pytest.raises(Exception, match="No matching signature"):
        after.is_signed_by(before)


def test_credentials_of_the_address__are_sent_and_neither_logged_nor_stored(
    make_receiver, make_delivery, caplog, attempt
):
    caplog.set_level(logging.DEBUG)
    receiver = make_receiver(500)
    url = receiver.url.replace("//", "//user:pa%20ss@")

    delivery = make_delivery(url=url)
    attempt(delivery)

    assert receiver.received[0].headers["authorization"] == "Basic dXNlcjpwYSBzcw=="
    assert receiver.received[0].headers["host"] == f"127.0.0.1:{receiver.server_port}"
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith(("generations", "procrastinate"))
    ]
    assert "pa%20ss" not in "".join(ours) + delivery.last_error
