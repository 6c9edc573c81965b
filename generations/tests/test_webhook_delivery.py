"""Deliveries to real receivers: what is sent, which answers end them, and when they are sent again."""

import asyncio
import json
import logging
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from jsonschema import Draft202012Validator
from procrastinate.contrib.django.models import ProcrastinateJob
from replicate.webhook import Webhooks, WebhookSigningSecret, WebhookValidationError

from generations.models import Generation
from generations.status import Status
from generations.tests.support.receiver import (
    Receiver,
    flood,
    hang_up,
    redirect,
    retry_after,
    silence,
    trickle,
)
from generations.webhooks import delivery as deliveries
from generations.webhooks import payloads, sending, signature
from generations.webhooks.delivery import DeliveryRetry, Postponed
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.signature import WebhookSecret
from lockngen import retry_policies, urls

pytestmark = pytest.mark.django_db(transaction=True)

State = WebhookDelivery.State
CONTEXT = SimpleNamespace(job=SimpleNamespace(attempts=0))


@pytest.fixture(autouse=True)
def loopback(settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    settings.WEBHOOK_TIMEOUT = 1


@pytest.fixture
def make_receiver():
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


def attempt(delivery: WebhookDelivery) -> Exception | None:
    """Run the task once, and return what it raised for the queue."""
    try:
        asyncio.run(deliveries.deliver(CONTEXT, str(delivery.pk)))
    except Postponed as postponed:
        postponed.seconds = (postponed.until - datetime.now(UTC)).total_seconds()
        return postponed
    finally:
        delivery.refresh_from_db()
    return None


def make_due(delivery: WebhookDelivery) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=Now())


def test_delivery__sends_the_generation_as_it_is_now(make_receiver, make_webhook_generation, api):
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


def test_delivery__is_what_the_openapi_document_describes(make_receiver, make_delivery):
    receiver = make_receiver()
    document = urls.api.get_openapi_schema()
    described = document["webhooks"]["generation"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]

    attempt(make_delivery(receiver))

    (request,) = receiver.received
    Draft202012Validator({**schema, "components": document["components"]}).validate(request.json)
    assert {parameter["name"] for parameter in described["parameters"]} <= request.headers.keys()


def test_delivery__links_begin_with_the_public_address(make_receiver, make_delivery, settings):
    settings.PUBLIC_URL = "https://images.example.org/lockn"
    receiver = make_receiver()

    attempt(make_delivery(receiver))

    events = receiver.received[0].json["data"]["signed_urls"]["events"]
    assert events.startswith("https://images.example.org/lockn/api/v1/generations/")


def test_delivery__has_signed_addresses_that_begin_to_age_when_it_is_sent(make_receiver, make_delivery, settings):
    settings.SIGNED_URL_LIFETIME = 3600
    receiver, delivery = make_receiver(), None
    delivery = make_delivery(receiver)
    WebhookDelivery.objects.update(created_at=Now() - timedelta(hours=5))

    attempt(delivery)

    expires_at = datetime.fromisoformat(receiver.received[0].json["data"]["signed_urls"]["expires_at"])
    assert expires_at - datetime.now(UTC) > timedelta(minutes=59)


def test_signature__is_valid_by_the_library(make_receiver, make_delivery, key):
    receiver = make_receiver()
    delivery = make_delivery(receiver)

    attempt(delivery)

    (request,) = receiver.received
    assert request.is_signed_by(WebhookSecret.objects.of(key).secret)
    assert request.id == str(delivery.pk)
    with pytest.raises(Exception, match="No matching signature"):
        request.is_signed_by(signature.make())


def test_signature__is_valid_by_the_client_of_replicate(make_receiver, make_delivery, key):
    receiver = make_receiver()
    attempt(make_delivery(receiver))
    (request,) = receiver.received
    secret = WebhookSigningSecret(key=WebhookSecret.objects.of(key).secret)

    Webhooks.validate(headers=request.headers, body=request.body.decode(), secret=secret, tolerance=300)

    with pytest.raises(WebhookValidationError):
        Webhooks.validate(headers=request.headers, body="{}", secret=secret)


def test_signature__is_also_that_of_the_previous_secret_during_its_grace(make_receiver, make_delivery, key):
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


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success__ends_the_delivery(make_receiver, make_delivery, status):
    delivery = make_delivery(make_receiver(status))

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status, delivery.attempts) == (State.DELIVERED, status, 1)
    assert delivery.ended_at is not None
    assert attempt(delivery) is None
    assert delivery.attempts == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 422, 429, 500, 503])
def test_other_statuses__postpone_it(make_receiver, make_delivery, status):
    delivery = make_delivery(make_receiver(status))

    postponed = attempt(delivery)

    assert 2 <= postponed.seconds <= 5
    assert (delivery.state, delivery.last_status, delivery.attempts) == (State.PENDING, status, 1)
    assert str(status) in delivery.last_error


def test_gone__ends_it_at_once(make_receiver, make_delivery, caplog):
    delivery = make_delivery(make_receiver(410))
    caplog.set_level(logging.INFO)

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status) == (State.FAILED, 410)
    assert f"Webhook {delivery.pk}, completed of generation {delivery.generation_id}: failed" in caplog.text
    assert "s3cret" not in caplog.text


def test_receiver__away_for_five_attempts_gets_it_once_it_is_back(make_receiver, make_delivery, change_policy):
    change_policy("WEBHOOK", first_pause=0)
    receiver = make_receiver(503, hang_up, 500, 404, silence(2), 204)
    delivery = make_delivery(receiver)

    results = [attempt(delivery) for _ in range(6)]

    assert [type(result) for result in results] == [Postponed] * 5 + [type(None)]
    assert (delivery.state, delivery.attempts) == (State.DELIVERED, 6)
    assert receiver.ids == [str(delivery.pk)] * 6


def test_receiver__that_refuses_connections_is_tried_again(make_receiver, make_delivery, change_policy):
    change_policy("WEBHOOK", first_pause=0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    delivery = make_delivery(url=f"http://127.0.0.1:{port}/")

    assert isinstance(attempt(delivery), Postponed)

    assert "can't be reached" in delivery.last_error


def test_redirect__is_not_followed(make_receiver, make_delivery):
    private = make_receiver()
    delivery = make_delivery(make_receiver(redirect(private.url)))

    assert isinstance(attempt(delivery), Postponed)

    assert private.received == []
    assert delivery.last_error == "it answered 302 with a redirect, which is not followed"


@pytest.mark.parametrize(
    "answer",
    [
        silence(3),
        trickle(b"HTTP/1.1 200 OK\r\nX-A: ", 3),
        trickle(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 3),
        trickle(b"", 3),
    ],
    ids=["silence", "a header that never ends", "informational answers", "no HTTP"],
)
def test_receiver__that_is_slow_is_left_in_time(make_receiver, make_delivery, answer):
    delivery = make_delivery(make_receiver(answer))
    started_at = time.monotonic()

    assert isinstance(attempt(delivery), Postponed)

    assert time.monotonic() - started_at < 2
    assert delivery.last_error == "it did not answer within 1 seconds"


def test_body__that_is_huge_is_not_read(make_receiver, make_delivery):
    receiver = make_receiver(flood(200))
    delivery = make_delivery(receiver)

    attempt(delivery)

    assert delivery.state == State.DELIVERED
    assert receiver.sent_megabytes < 50  # what sockets buffer


def test_body__that_trickles_does_not_change_a_success(make_receiver, make_delivery, settings):
    settings.WEBHOOK_TIMEOUT = 10
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    delivery = make_delivery(make_receiver(trickle(head, 5)))
    started_at = time.monotonic()

    attempt(delivery)

    assert delivery.state == State.DELIVERED
    assert time.monotonic() - started_at < sending.READ_TIMEOUT + 1


def test_answer__that_is_no_http_postpones_it(make_receiver, make_delivery):
    def answer(handler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9\r\n" * 10)
        handler.close_connection = True

    assert isinstance(attempt(make_delivery(make_receiver(answer))), Postponed)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("120", 119, 120),
        ("1", 2, 5),
        ("999999999999", 14_399, 14_400),
        ("-5", 2, 5),
        ("soon", 2, 5),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 2, 5),
        ("Thu, 01 Jan 1970 00:00:00", 2, 5),
    ],
)
def test_retry_after__lengthens_the_pause_within_bounds(make_receiver, make_delivery, text, least, most):
    delivery = make_delivery(make_receiver(retry_after(text)))

    postponed = attempt(delivery)

    assert least <= postponed.seconds <= most
    assert delivery.next_attempt_at - datetime.now(UTC) > timedelta(seconds=least - 1)


def test_retry_after__may_be_a_date(make_receiver, make_delivery):
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)

    assert 1700 < attempt(make_delivery(make_receiver(retry_after(date)))).seconds <= 1800


def test_last_attempt__makes_it_a_dead_letter_that_can_be_sent_again(make_receiver, make_delivery, change_policy):
    change_policy("WEBHOOK", first_pause=0, attempts=3)
    receiver = make_receiver(500, 500, 500, 500, 204)
    delivery = make_delivery(receiver)

    results = [attempt(delivery) for _ in range(3)]
    assert (delivery.state, delivery.attempts, results[2]) == (State.FAILED, 3, None)

    assert WebhookDelivery.objects.failed().send_again() == 1
    assert isinstance(attempt(delivery), Postponed)
    assert attempt(delivery) is None
    assert (delivery.state, delivery.attempts, delivery.counted_attempts) == (State.DELIVERED, 5, 2)
    assert set(receiver.ids) == {str(delivery.pk)}


def test_delivery__that_is_rescued_early_waits_until_it_is_due(make_receiver, make_delivery):
    receiver = make_receiver(500)
    delivery = make_delivery(receiver)
    postponed = attempt(delivery)

    again = attempt(delivery)

    assert again.seconds == pytest.approx(postponed.seconds, abs=1)
    assert (len(receiver.received), delivery.attempts) == (1, 1)


def test_worker__killed_before_it_marks_a_success_sends_it_again_with_the_same_id(
    make_receiver, make_delivery, monkeypatch
):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            attempt(delivery)
    assert delivery.state == State.PENDING

    attempt(delivery)

    assert (delivery.state, receiver.ids) == (State.DELIVERED, [str(delivery.pk)] * 2)


def test_delivery__whose_last_attempt_was_interrupted_fails(make_receiver, make_delivery, change_policy):
    change_policy("WEBHOOK", attempts=3)
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    WebhookDelivery.objects.update(attempts=3)

    assert attempt(delivery) is None

    assert (delivery.state, receiver.received) == (State.FAILED, [])
    assert "interrupted" in delivery.last_error


def test_attempt__that_is_superseded_neither_postpones_nor_fails_it(make_receiver, make_delivery, sql):
    def supersede(handler) -> None:
        WebhookDelivery.objects.update(attempts=2)
        connection.close()
        handler.respond(500)

    delivery = make_delivery(make_receiver(supersede))

    assert attempt(delivery) is None  # the job belongs to the other attempt

    assert (delivery.state, delivery.last_error) == (State.PENDING, None)


def test_delivery__that_is_no_event_of_its_interface_ends_without_a_call(make_receiver, make_delivery):
    receiver = make_receiver()
    payloads.register("silent", lambda *_: None)
    delivery = make_delivery(receiver, interface="silent")

    assert attempt(delivery) is None

    assert (delivery.state, delivery.last_status, receiver.received) == (State.DELIVERED, None, [])


def test_delivery__of_a_removed_generation_is_not_sent(make_receiver, make_delivery):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    delivery.generation.hard_delete()

    asyncio.run(deliveries.deliver(CONTEXT, str(delivery.pk)))

    assert receiver.received == []


@pytest.mark.parametrize("change", ["delete", "revoke", "deactivate"])
def test_delivery__is_sent_whatever_became_of_the_generation_and_its_key(make_receiver, make_delivery, key, change):
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    getattr(delivery.generation if change == "delete" else key, change)()

    attempt(delivery)

    assert receiver.received[0].json["data"]["status"] == "cancelled"


def test_credentials_of_the_address__are_sent_and_neither_logged_nor_stored(make_receiver, make_delivery, caplog):
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


def test_receiver__gets_a_quarter_of_the_concurrency(make_receiver, make_delivery, settings):
    settings.WEBHOOK_CONCURRENCY = 8
    slow, quick = make_receiver(silence(0.5)), make_receiver()
    busy = [make_delivery(slow) for _ in range(5)]
    other = make_delivery(quick)

    async def send_all() -> list:
        return await asyncio.gather(
            *(deliveries.deliver(CONTEXT, str(each.pk)) for each in [*busy, other]), return_exceptions=True
        )

    results = asyncio.run(send_all())

    assert slow.most_open == 2
    assert [type(result) for result in results].count(Postponed) == 3
    assert len(quick.received) == 1
    assert WebhookDelivery.objects.filter(attempts=0).count() == 3  # those that waited made no attempt


def test_key__gets_half_of_the_concurrency(make_receiver, make_delivery, settings):
    settings.WEBHOOK_CONCURRENCY = 4
    receivers = [make_receiver(silence(0.5)) for _ in range(4)]
    busy = [make_delivery(receiver) for receiver in receivers]

    async def send_all() -> list:
        calls = [deliveries.deliver(CONTEXT, str(each.pk)) for each in busy]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(send_all())

    assert [type(result) for result in results].count(Postponed) == 2
    assert sum(len(receiver.received) for receiver in receivers) == 2


def test_outage__of_the_database_loses_no_outcome(make_receiver, make_delivery, monkeypatch, change_policy):
    change_policy("DATABASE_WORKER", first_pause=0)
    receiver = make_receiver()
    delivery = make_delivery(receiver)
    succeed, failures = WebhookDelivery.succeed, [OperationalError("lost"), OperationalError("lost")]

    def fail_first(self, status):
        if failures:
            raise failures.pop()
        return succeed(self, status)

    monkeypatch.setattr(WebhookDelivery, "succeed", fail_first)

    attempt(delivery)

    assert (delivery.state, len(receiver.received)) == (State.DELIVERED, 1)


def test_retry__of_the_job_follows_the_pause_of_the_delivery():
    job = type("Job", (), {"attempts": 40})

    def seconds(error: BaseException) -> float:
        decision = DeliveryRetry().get_retry_decision(exception=error, job=job)
        return (decision.retry_at - datetime.now(UTC)).total_seconds()

    assert seconds(Postponed(datetime.now(UTC) + timedelta(seconds=500))) == pytest.approx(500, abs=1)
    assert seconds(asyncio.CancelledError()) == pytest.approx(0, abs=1)
    assert 29 < seconds(ValueError()) <= 60


def test_policy__reaches_over_hours():
    policy = retry_policies.WEBHOOK
    longest = sum(min(policy.first_pause * policy.factor**n, policy.max_pause) for n in range(policy.attempts - 1))

    assert policy.attempts == 12
    assert 20 < longest / 3600 < 22


def test_stranded__delivery_gets_a_job_again(make_receiver, make_delivery):
    delivery = make_delivery(make_receiver())
    WebhookDelivery.objects.update(created_at=Now() - timedelta(minutes=2))
    assert list(WebhookDelivery.objects.all().stranded()) == []
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")

    assert WebhookDelivery.objects.all().stranded().enqueue() == [str(delivery.pk)]

    assert list(WebhookDelivery.objects.all().stranded()) == []
    assert [job.args for job in ProcrastinateJob.objects.all()] == [{"delivery_id": str(delivery.pk)}]


def test_status__of_the_generation_is_not_changed_by_its_webhook(make_receiver, make_delivery):
    delivery = make_delivery(make_receiver(500))

    attempt(delivery)

    assert Generation.objects.get(pk=delivery.generation_id).status == Status.CANCELLED
